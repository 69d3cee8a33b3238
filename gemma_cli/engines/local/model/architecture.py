"""What a text config says, read once: the shape of every layer and which layer keeps its keys and values.

Fields, defaults and their meaning are those of transformers' Gemma4TextConfig and Gemma4UnifiedTextConfig, which the
tests hold this to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gemma_cli.engines.local.model.json_fields import Fields

VisionMask = Literal["causal", "sliding", "everywhere"]
"""How image rows see each other: as text does; both ways in sliding layers and inside the window (26B, 31B); both
ways in every layer, however far (the 12B "unified" model, as stock transformers' forward masks it)."""

Kind = Literal["sliding_attention", "full_attention"]
SLIDING: Kind = "sliding_attention"
FULL: Kind = "full_attention"

_PATTERN = 6
"""Every sixth layer is a full one where the config does not say."""

_ROPE: Mapping[str, Mapping[str, Any]] = {
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
    FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
}


@dataclass(frozen=True)
class LayerShape:
    """One decoder layer. `source` is the layer whose keys and values it attends to: itself unless they are shared."""

    index: int
    sliding: bool
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    source: int
    value_is_key: bool

    @property
    def owns_kv(self) -> bool:
        return self.source == self.index

    @property
    def kind(self) -> Kind:
        return SLIDING if self.sliding else FULL


@dataclass(frozen=True)
class Architecture:
    """The text decoder of a target or a drafter. `experts` is 0 where the feed-forward network is dense."""

    layers: tuple[LayerShape, ...]
    hidden: int
    vocab: int
    window: int
    context: int
    eps: float
    softcap: float | None
    pad_id: int
    tied: bool
    ple: int
    ple_vocab: int
    experts: int
    experts_per_row: int
    expert_intermediate: int
    vision_mask: VisionMask
    rope: dict[str, tuple[tuple[float, ...], float]]

    @property
    def own_layers(self) -> int:
        """How many layers keep keys and values: the first so many."""
        return sum(layer.owns_kv for layer in self.layers)

    @property
    def last_own_sliding(self) -> int:
        """The layer whose keys and values every shared sliding layer, and the drafter, reads."""
        return max(layer.index for layer in self.layers if layer.owns_kv and layer.sliding)

    @property
    def last_own_full(self) -> int:
        return max(layer.index for layer in self.layers if layer.owns_kv and not layer.sliding)


@dataclass(frozen=True)
class DrafterArchitecture:
    """A drafter: its layers, none of which owns keys, and what ties it to its target.

    backbone: the target's hidden size. centroids: clusters of the vocabulary of which `active_centroids` are scored
    at each step; 0 where the head is dense.
    """

    decoder: Architecture
    backbone: int
    centroids: int
    active_centroids: int


def read_architecture(values: Mapping[str, Any]) -> Architecture:
    """Architecture of a text config as config.json holds it. ValueError names the field that cannot be.

    Drafter layers get source -1: what they attend to belongs to the target.
    """
    text = Fields(values)
    unified = text.text("model_type", "gemma4_text") == "gemma4_unified_text"
    moe = text.flag("enable_moe_block", False)
    ple = 0 if unified else text.whole("hidden_size_per_layer_input", 256, least=0)
    vocab = text.whole("vocab_size", 262_144)
    layers = _layers(text)
    return Architecture(
        layers=layers,
        hidden=text.whole("hidden_size", 2304),
        vocab=vocab,
        window=text.whole("sliding_window", 1024 if unified else 512),
        context=text.whole("max_position_embeddings", 262_144 if unified else 131_072),
        eps=text.number("rms_norm_eps", 1e-6),
        softcap=text.number_or_none("final_logit_softcapping"),
        pad_id=text.whole_or_none("pad_token_id", 0) or 0,
        tied=text.flag("tie_word_embeddings", True),
        ple=ple,
        ple_vocab=text.whole("vocab_size_per_layer_input", 262_144) if ple else 0,
        experts=text.whole("num_experts", None) if moe else 0,
        experts_per_row=text.whole("top_k_experts", None) if moe else 0,
        expert_intermediate=text.whole("moe_intermediate_size", None) if moe else 0,
        vision_mask=_vision_mask(text, unified),
        rope=_ropes(text, layers),
    )


def read_drafter(values: Mapping[str, Any], decoder: Architecture) -> DrafterArchitecture:
    """What a drafter's config says beside its text_config, which is `decoder`. ValueError as above."""
    if any(layer.owns_kv for layer in decoder.layers) or decoder.ple or decoder.experts:
        raise ValueError("a drafter has neither keys of its own nor experts nor per-layer embeddings")
    whole = Fields(values)
    unified = whole.text("model_type", "gemma4_assistant").startswith("gemma4_unified")
    ordered = whole.flag("use_ordered_embeddings", False)
    return DrafterArchitecture(
        decoder=decoder,
        backbone=whole.whole("backbone_hidden_size", 3840 if unified else 1536),
        centroids=whole.whole("num_centroids", 2048) if ordered else 0,
        active_centroids=whole.whole("centroid_intermediate_top_k", 32) if ordered else 0,
    )


def _layers(text: Fields) -> tuple[LayerShape, ...]:
    count = text.whole("num_hidden_layers", 30)
    kinds = _kinds(text, count)
    own = count - text.whole("num_kv_shared_layers", 0, least=0)
    if own < 0:
        raise ValueError(f"num_kv_shared_layers is more than the {count} layers")
    return tuple(
        _layer(text, kinds, index, own, text.within(_overrides(text, index, kinds[index]))) for index in range(count)
    )


def _kinds(text: Fields, count: int) -> list[str]:
    kinds = text.values.get("layer_types")
    if kinds is None:
        kinds = [SLIDING if (index + 1) % _PATTERN else FULL for index in range(count)]
    if not isinstance(kinds, (list, tuple)) or len(kinds) != count or not {*kinds} <= {SLIDING, FULL}:
        raise ValueError(f"layer_types is not a list of {count} times {SLIDING} or {FULL}")
    return [*kinds[:-1], FULL]


def _overrides(text: Fields, index: int, kind: str) -> Mapping[str, Any]:
    """What differs in one layer: older configs say it of all full layers at once, newer ones layer by layer."""
    if "per_layer_config" not in text.values:
        if kind == SLIDING:
            return {}
        heads = text.whole_or_none("num_global_key_value_heads") if text.flag("attention_k_eq_v", False) else None
        own = {"head_dim": text.whole("global_head_dim", 512)}
        return own | ({"num_key_value_heads": heads} if heads else {})
    listed = text.values["per_layer_config"] or {}
    try:
        own = {int(layer): dict(fields) for layer, fields in listed.items()}.get(index, {})
    except (AttributeError, TypeError, ValueError):
        raise ValueError("per_layer_config is not a table of layers") from None
    if unknown := own.keys() - {"head_dim", "num_key_value_heads"}:
        raise ValueError(f"per_layer_config gives layers a {min(unknown)} of their own, which is not supported")
    return own


def _layer(text: Fields, kinds: list[str], index: int, own: int, shape: Fields) -> LayerShape:
    kind = kinds[index]
    source = index
    if index >= own:
        source = max((earlier for earlier in range(own) if kinds[earlier] == kind), default=-1)
    doubled = text.flag("use_double_wide_mlp", False) and index >= own > 0
    return LayerShape(
        index=index,
        sliding=kind == SLIDING,
        heads=text.whole("num_attention_heads", 8),
        kv_heads=shape.whole("num_key_value_heads", 4),
        head_dim=shape.whole("head_dim", 256),
        intermediate=text.whole("intermediate_size", 9216) * (2 if doubled else 1),
        source=source,
        value_is_key=text.flag("attention_k_eq_v", False) and kind == FULL,
    )


def _vision_mask(text: Fields, unified: bool) -> VisionMask:
    direction = text.values.get("use_bidirectional_attention", "vision" if unified else None)
    if direction not in (None, "vision"):
        raise ValueError(f"use_bidirectional_attention is {direction!r}: such a model does not write")
    if direction is None:
        return "causal"
    return "everywhere" if unified else "sliding"


def _ropes(text: Fields, layers: tuple[LayerShape, ...]) -> dict[str, tuple[tuple[float, ...], float]]:
    """For each kind of layer: inverse frequency per rotated pair, 0 where a pair is not rotated; a factor on sine and
    cosine."""
    given = text.values.get("rope_parameters")
    ropes: dict[str, tuple[tuple[float, ...], float]] = {}
    for kind in sorted({layer.kind for layer in layers}):
        sizes = {layer.head_dim for layer in layers if layer.kind == kind}
        parameters = _ROPE[kind] if given is None else given.get(kind) if isinstance(given, Mapping) else None
        if len(sizes) > 1 or not isinstance(parameters, Mapping):
            raise ValueError(f"rope_parameters does not say how the {kind} layers rotate")
        ropes[kind] = (_inverse_frequencies(Fields(parameters), sizes.pop()), 1.0)
    return ropes


def _inverse_frequencies(rope: Fields, head_dim: int) -> tuple[float, ...]:
    kind = rope.text("rope_type", "default")
    if kind not in ("default", "proportional"):
        raise ValueError(f"rope_type {kind!r} is not supported")
    share = rope.number("partial_rotary_factor", 1.0) if kind == "proportional" else 1.0
    factor = rope.number("factor", 1.0) if kind == "proportional" else 1.0
    rotated = int(share * head_dim // 2)
    # In float32 throughout, as the reference computes them.
    exponents = torch.arange(0, 2 * rotated, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / (rope.number("rope_theta", None) ** exponents) / factor
    return (*frequencies.tolist(), *[0.0] * (head_dim // 2 - rotated))
