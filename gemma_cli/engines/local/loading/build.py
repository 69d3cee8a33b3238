"""Construction of a Target or Drafter from its shape and a source of weights: names of tensors, and fusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gemma_cli.core.errors import InputError, ModelError
from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading.checkpoint import Source
from gemma_cli.engines.local.model.drafter import CentroidHead, DenseHead, Drafter
from gemma_cli.engines.local.model.layer import Attention, DecoderLayer, FeedForward, PerLayerInput
from gemma_cli.engines.local.model.layers.linear import Norm, OneRowNorm
from gemma_cli.engines.local.model.layers.moe import Experts
from gemma_cli.engines.local.model.layers.per_layer_embedding import PerLayerEmbedding
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.model.multi_gpu import spread
from gemma_cli.engines.local.model.schema.architecture import Architecture, DrafterArchitecture, LayerShape
from gemma_cli.engines.local.model.target import Target


def build_target(
    arch: Architecture, source: Source, device: torch.device, dtype: torch.dtype, lies: Sequence[torch.device] = ()
) -> Target:
    """Names are the text model's own ("layers.0..."). lies: the device of each layer, where `device` is not that of
    all; it is the last ones' then."""
    # Only rows of it are read, so on a CPU it stays in its file; the head has a copy of its own in its kernel's layout.
    embedding = source.table("embed_tokens.weight", (arch.vocab, arch.hidden))
    first = lies[0] if lies else device
    target = Target(
        arch=arch,
        device=device,
        dtype=dtype,
        embedding=embedding,
        head=source.tied("embed_tokens.weight", embedding)
        if arch.tied
        else source.linear("lm_head.weight", (arch.vocab, arch.hidden)),
        layers=build_layers(arch, source, lies or [device] * len(arch.layers)),
        norm=Norm(source.take("norm.weight", (arch.hidden,)), arch.eps, device),
        ropes=build_ropes(arch, device),
        per_layer=_per_layer_embedding(arch, source.on(first), first, dtype) if arch.ple else None,
    )
    return spread(target, lies, {on: build_ropes(arch, on) for on in lies}) if lies else target


def build_drafter(shape: DrafterArchitecture, source: Source, target: Target) -> Drafter:
    """InputError where it was made for another target."""
    arch, backbone = shape.decoder, shape.backbone
    _check_pair(shape, target)
    plain = target.device.type != "cpu" or native.on(target.device)
    kind = Norm if plain else OneRowNorm
    return Drafter(
        arch=arch,
        device=target.device,
        dtype=target.dtype,
        before=source.linear("pre_projection.weight", (arch.hidden, 2 * backbone)),
        layers=build_layers(arch, source, [target.device] * len(arch.layers), "model.", kind),
        norm=kind(source.take("model.norm.weight", (arch.hidden,)), arch.eps, target.device),
        after=source.linear("post_projection.weight", (backbone, arch.hidden)),
        head=_centroid_head(shape, source) if shape.centroids else _dense_head(arch, source),
        ropes=build_ropes(arch, target.device),
    )


def _check_pair(shape: DrafterArchitecture, target: Target) -> None:
    """The drafter must speak the target's vocabulary and read keys of its shape."""
    arch, own = shape.decoder, target.arch
    pairs = [
        ("hidden size", shape.backbone, own.hidden),
        ("vocabulary", arch.vocab, own.vocab),
        ("window", arch.window, own.window),
    ]
    for layer in arch.layers:
        source = own.layers[own.last_own_sliding if layer.sliding else own.last_own_full]
        name = "sliding" if layer.sliding else "full"
        pairs.append((f"{name} head size", layer.head_dim, source.head_dim))
        pairs.append((f"{name} key heads", layer.kv_heads, source.kv_heads))
    for what, drafts, has in pairs:
        if drafts != has:
            raise InputError(
                f"the drafter belongs to another model: the {what} is {drafts} in the drafter, but {has} in the model"
            )


def _dense_head(arch: Architecture, source: Source) -> DenseHead:
    return DenseHead(source.linear("model.embed_tokens.weight", (arch.vocab, arch.hidden)))


def _centroid_head(shape: DrafterArchitecture, source: Source) -> CentroidHead:
    arch, clusters = shape.decoder, shape.centroids
    embedding = source.take("model.embed_tokens.weight", (arch.vocab, arch.hidden))
    ids = source.take("masked_embedding.token_ordering", (arch.vocab,), torch.int64).view(clusters, -1)
    check_order(ids, arch.vocab)
    return CentroidHead(
        centroids=source.linear("masked_embedding.centroids.weight", (clusters, arch.hidden)),
        rows=embedding[ids],
        ids=ids,
        clusters=shape.active_centroids,
    )


def check_order(ids: Tensor, vocab: int) -> None:
    """ModelError for ids that are not in the vocabulary."""
    if ids.min() < 0 or ids.max() >= vocab:
        raise ModelError(
            "masked_embedding.token_ordering of the drafter names unknown tokens: download the drafter again"
        )


def build_ropes(arch: Architecture, device: torch.device) -> dict[str, Rope]:
    return {kind: Rope(frequencies, factor, device) for kind, (frequencies, factor) in arch.rope.items()}


def build_layers(
    arch: Architecture, source: Source, lies: Sequence[torch.device], prefix: str = "", kind: type[Norm] = Norm
) -> list[DecoderLayer]:
    """lies: the device of each; kind: of its norms."""
    sources = {device: source.on(device) for device in lies}
    return [
        _layer(arch, shape, sources[device], device, f"{prefix}layers.{shape.index}.", kind)
        for shape, device in zip(arch.layers, lies, strict=True)
    ]


def _layer(
    arch: Architecture, shape: LayerShape, source: Source, device: torch.device, name: str, kind: type[Norm]
) -> DecoderLayer:
    hidden, wide = arch.hidden, shape.intermediate

    def norm(which: str, eps: float = arch.eps) -> Norm:
        return kind(source.take(f"{name}{which}.weight", (hidden,)), eps, device)

    gate_up = source.fused((f"{name}mlp.gate_proj.weight", f"{name}mlp.up_proj.weight"), ((wide, hidden),) * 2)
    down = source.linear(f"{name}mlp.down_proj.weight", (hidden, wide))
    return DecoderLayer(
        index=shape.index,
        attention=_attention(arch, shape, source, device, f"{name}self_attn."),
        feed_forward=FeedForward(gate_up, down),
        input_norm=norm("input_layernorm"),
        post_attention_norm=norm("post_attention_layernorm"),
        pre_feed_forward_norm=norm("pre_feedforward_layernorm"),
        post_feed_forward_norm=norm("post_feedforward_layernorm"),
        scalar=source.take(f"{name}layer_scalar", (1,)).item(),
        per_layer_input=_per_layer_input(arch, name, source, device) if arch.ple else None,
        experts=_experts(arch, name, source, device) if arch.experts else None,
    )


def _attention(arch: Architecture, shape: LayerShape, source: Source, device: torch.device, name: str) -> Attention:
    dim, kv_rows = shape.head_dim, shape.kv_heads * shape.head_dim
    parts = [("q_proj", shape.heads * dim)]
    scales = [source.take(f"{name}q_norm.weight", (dim,), torch.float32).expand(shape.heads, dim)]
    if shape.owns_kv:
        parts += [("k_proj", kv_rows)] if shape.value_is_key else [("k_proj", kv_rows), ("v_proj", kv_rows)]
        scales += [source.take(f"{name}k_norm.weight", (dim,), torch.float32).expand(shape.kv_heads, dim)]
    qkv = source.fused([f"{name}{part}.weight" for part, _ in parts], [(rows, arch.hidden) for _, rows in parts])
    return Attention(
        shape=shape,
        qkv=qkv,
        qk_scale=torch.cat(scales),
        out=source.linear(f"{name}o_proj.weight", (arch.hidden, shape.heads * dim)),
        norm=Norm(None, arch.eps, device),
    )


def _per_layer_input(arch: Architecture, name: str, source: Source, device: torch.device) -> PerLayerInput:
    return PerLayerInput(
        gate=source.linear(f"{name}per_layer_input_gate.weight", (arch.ple, arch.hidden)),
        project=source.linear(f"{name}per_layer_projection.weight", (arch.hidden, arch.ple)),
        norm=Norm(source.take(f"{name}post_per_layer_input_norm.weight", (arch.hidden,)), arch.eps, device),
    )


def _per_layer_embedding(
    arch: Architecture, source: Source, device: torch.device, dtype: torch.dtype
) -> PerLayerEmbedding:
    """The reference computes (norm(project(x) * hidden^-0.5) + table[id] * sqrt(ple)) * 2^-0.5."""
    width = len(arch.layers) * arch.ple
    weight = source.take("per_layer_projection_norm.weight", (arch.ple,), torch.float32)
    return PerLayerEmbedding(
        table=source.table("embed_tokens_per_layer.weight", (arch.ple_vocab, width)),
        table_scale=torch.tensor(arch.ple**0.5, dtype=dtype).item() * 2.0**-0.5,
        project=source.linear("per_layer_model_projection.weight", (width, arch.hidden)),
        norm=Norm(weight * 2.0**-0.5, arch.eps * arch.hidden, device),
        width=arch.ple,
    )


def _experts(arch: Architecture, name: str, source: Source, device: torch.device) -> Experts:
    hidden, wide, count = arch.hidden, arch.expert_intermediate, arch.experts

    def norm(which: str) -> Norm:
        return Norm(source.take(f"{name}{which}.weight", (hidden,)), arch.eps, device)

    return Experts(
        router_norm=Norm(source.take(f"{name}router.scale", (hidden,), torch.float32) * hidden**-0.5, arch.eps, device),
        router=source.exact(f"{name}router.proj.weight", (count, hidden)),
        per_expert=source.take(f"{name}router.per_expert_scale", (count,), torch.float32),
        gate_up=source.linears(f"{name}experts.gate_up_proj", (count, 2 * wide, hidden)),
        down=source.linears(f"{name}experts.down_proj", (count, hidden, wide)),
        norm=norm("pre_feedforward_layernorm_2"),
        dense_norm=norm("post_feedforward_layernorm_1"),
        expert_norm=norm("post_feedforward_layernorm_2"),
        per_row=arch.experts_per_row,
    )
