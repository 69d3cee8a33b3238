"""The architecture in a text config: the shape of every layer and which layer keeps its keys and values.

Fields, defaults and their meaning are those of transformers' Gemma4TextConfig and Gemma4UnifiedTextConfig, which the
tests hold this to. schema.py has the range of each field; how they must fit each other is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gemma_cli.engines.local.model.schema import config_schema
from gemma_cli.engines.local.model.schema.config_schema import FULL, SLIDING, Kind
from gemma_cli.engines.local.model.schema.json_fields import FieldError

VisionMask = Literal["causal", "sliding", "everywhere"]
"""How image rows see each other: as text does; both ways in sliding layers and inside the window (26B, 31B); both
ways in every layer, however far (the 12B "unified" model, as stock transformers' forward masks it)."""

_LAYER = re.compile("[0-9]{1,4}")
"""The number of a layer; transformers writes as many digits for each as the last one has."""

MOST_ROWS = 1 << 16
"""Largest width of a projection: heads times their size, four times that of any release."""

_PATTERN = 6
"""Default pattern: every sixth layer has full attention."""

_ROPE: Mapping[str, Mapping[str, Any]] = {
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
    FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0, "factor": 1.0},
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
        """Return how many layers have their own keys and values: the first ones."""
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


def read_architecture(values: Mapping[str, Any], where: str = "") -> Architecture:
    """Read the architecture from a text config as config.json holds it. FieldError names what cannot be; where: what
    stands before the names of its fields ("text_config.").

    Layers of a drafter get source -1: what they attend to belongs to the target.
    """
    unified = values.get("model_type") == "gemma4_unified_text"
    text = (config_schema.UNIFIED_TEXT if unified else config_schema.TEXT).check(values, where.rstrip("."))
    layers = _layers(text, where, "per_layer_config" in values)
    _check_sizes(text, layers, where)
    moe, ple = text["enable_moe_block"], text["hidden_size_per_layer_input"]
    return Architecture(
        layers=layers,
        hidden=text["hidden_size"],
        vocab=text["vocab_size"],
        window=text["sliding_window"],
        context=text["max_position_embeddings"],
        eps=text["rms_norm_eps"],
        softcap=text["final_logit_softcapping"],
        pad_id=text["pad_token_id"],
        tied=text["tie_word_embeddings"],
        ple=ple,
        ple_vocab=text["vocab_size_per_layer_input"] if ple else 0,
        experts=text["num_experts"] if moe else 0,
        experts_per_row=text["top_k_experts"] if moe else 0,
        expert_intermediate=text["moe_intermediate_size"] if moe else 0,
        vision_mask=_vision_mask(text, unified),
        rope=_ropes(text, layers, where),
    )


def check_target(decoder: Architecture, where: str = "") -> None:
    """FieldError unless a target has what shared layers, and a drafter, read: keys of each kind of layer."""
    for kind, there in ((SLIDING, True), (FULL, False)):
        if not any(layer.owns_kv and layer.sliding is there for layer in decoder.layers):
            shared = len(decoder.layers) - decoder.own_layers
            raise FieldError(f"{where}num_kv_shared_layers", shared, f"but a {kind} layer must have its own keys")


def read_drafter(values: Mapping[str, Any], decoder: Architecture, where: str = "") -> DrafterArchitecture:
    """Read what a drafter's config says beside its text_config, which is `decoder`. FieldError as above."""
    if any(layer.owns_kv for layer in decoder.layers):
        raise FieldError(f"{where}num_kv_shared_layers", decoder.own_layers, "but a drafter cannot have its own keys")
    if decoder.ple:
        raise FieldError(f"{where}hidden_size_per_layer_input", decoder.ple, "but a drafter must have 0 here")
    if decoder.experts:
        raise FieldError(f"{where}enable_moe_block", True, "but a drafter cannot have experts")
    unified = str(values.get("model_type")).startswith("gemma4_unified")
    drafter = (config_schema.UNIFIED_DRAFTER if unified else config_schema.DRAFTER).check(values)
    clusters, active = drafter["num_centroids"], drafter["centroid_intermediate_top_k"]
    if not drafter["use_ordered_embeddings"]:
        clusters = active = 0
    elif decoder.vocab % clusters:
        raise FieldError(
            "num_centroids", clusters, f"but the vocabulary size ({decoder.vocab}) must be a multiple of num_centroids"
        )
    elif active > clusters:
        raise FieldError("centroid_intermediate_top_k", active, f"but num_centroids is only {clusters}")
    return DrafterArchitecture(decoder, drafter["backbone_hidden_size"], clusters, active)


def _layers(text: Mapping[str, Any], where: str, layer_by_layer: bool) -> tuple[LayerShape, ...]:
    count, shared = text["num_hidden_layers"], text["num_kv_shared_layers"]
    if shared > count:
        raise FieldError(f"{where}num_kv_shared_layers", shared, f"but the model has only {count} layers")
    kinds = _kinds(text, count, where)
    overrides = _overrides(text, kinds, where) if layer_by_layer else _of_full_layers(text, kinds)
    return tuple(_layer(text, kinds, index, count - shared, overrides[index]) for index in range(count))


def _kinds(text: Mapping[str, Any], count: int, where: str) -> list[Kind]:
    kinds = text["layer_types"]
    if kinds is None:
        kinds = [SLIDING if (index + 1) % _PATTERN else FULL for index in range(count)]
    if len(kinds) != count:
        raise FieldError(f"{where}layer_types", kinds, f"but a list of {count} values is required, one for each layer")
    return [*kinds[:-1], FULL]


def _of_full_layers(text: Mapping[str, Any], kinds: Sequence[Kind]) -> list[dict[str, int]]:
    """Return per-layer differences in the older form: for all full layers together."""
    heads = text["num_global_key_value_heads"] if text["attention_k_eq_v"] else None
    own = {"head_dim": text["global_head_dim"]} | ({"num_key_value_heads": heads} if heads else {})
    return [{} if kind == SLIDING else own for kind in kinds]


def _overrides(text: Mapping[str, Any], kinds: Sequence[Kind], where: str) -> list[dict[str, int]]:
    """Return per-layer differences in the newer form: layer by layer."""
    own: dict[int, dict[str, int]] = {}
    for key, fields in text["per_layer_config"].items():
        index = int(key) if _LAYER.fullmatch(str(key)) else -1
        if not 0 <= index < len(kinds) or index in own:
            raise FieldError(
                f"{where}per_layer_config",
                key,
                f"but each key must be the number of one of the {len(kinds)} layers, and no number may occur twice",
            )
        own[index] = {name: value for name, value in fields.items() if value is not None}
    return [own.get(index, {}) for index in range(len(kinds))]


def _layer(
    text: Mapping[str, Any], kinds: Sequence[Kind], index: int, own: int, overrides: Mapping[str, int]
) -> LayerShape:
    kind = kinds[index]
    source = index
    if index >= own:
        source = max((earlier for earlier in range(own) if kinds[earlier] == kind), default=-1)
    doubled = text["use_double_wide_mlp"] and index >= own > 0
    return LayerShape(
        index=index,
        sliding=kind == SLIDING,
        heads=text["num_attention_heads"],
        kv_heads=overrides.get("num_key_value_heads", text["num_key_value_heads"]),
        head_dim=overrides.get("head_dim", text["head_dim"]),
        intermediate=text["intermediate_size"] * (2 if doubled else 1),
        source=source,
        value_is_key=text["attention_k_eq_v"] and kind == FULL,
    )


def _check_sizes(text: Mapping[str, Any], layers: Sequence[LayerShape], where: str) -> None:
    """Raise FieldError for sizes that are valid alone but not together."""
    for layer in layers:
        at = f"{where}head_dim of layer {layer.index}"
        if layer.head_dim % 2:
            raise FieldError(at, layer.head_dim, "but an even number is required")
        if layer.heads * layer.head_dim > MOST_ROWS:
            raise FieldError(at, layer.head_dim, f"but {layer.heads} heads may have at most {MOST_ROWS} rows")
        if layer.heads % layer.kv_heads:
            heads = f"but num_attention_heads ({layer.heads}) must be a multiple of num_key_value_heads"
            raise FieldError(f"{where}num_key_value_heads of layer {layer.index}", layer.kv_heads, heads)
    if text["pad_token_id"] >= text["vocab_size"]:
        raise FieldError(
            f"{where}pad_token_id", text["pad_token_id"], f"but the vocabulary has only {text['vocab_size']} tokens"
        )
    ple_vocab = text["vocab_size_per_layer_input"]
    if text["hidden_size_per_layer_input"] and ple_vocab < text["vocab_size"]:
        raise FieldError(
            f"{where}vocab_size_per_layer_input",
            ple_vocab,
            f"but at least vocab_size ({text['vocab_size']}) is required",
        )
    if text["enable_moe_block"]:
        _check_experts(text, where)


def _check_experts(text: Mapping[str, Any], where: str) -> None:
    for name in ("num_experts", "top_k_experts", "moe_intermediate_size"):
        if text[name] is None:
            raise FieldError(f"{where}{name}", None, "but enable_moe_block is true")
    if text["top_k_experts"] > text["num_experts"]:
        raise FieldError(
            f"{where}top_k_experts", text["top_k_experts"], f"but num_experts is only {text['num_experts']}"
        )


def _vision_mask(text: Mapping[str, Any], unified: bool) -> VisionMask:
    if text["use_bidirectional_attention"] is None:
        return "causal"
    return "everywhere" if unified else "sliding"


def _ropes(
    text: Mapping[str, Any], layers: Sequence[LayerShape], where: str
) -> dict[str, tuple[tuple[float, ...], float]]:
    """Return for each kind of layer: inverse frequency per rotated pair, 0 where a pair is not rotated; a factor on
    sine and cosine."""
    given = text["rope_parameters"]
    ropes: dict[str, tuple[tuple[float, ...], float]] = {}
    for kind in sorted({layer.kind for layer in layers}):
        sizes = {layer.head_dim for layer in layers if layer.kind == kind}
        if len(sizes) > 1:
            raise FieldError(f"{where}head_dim of {kind} layers", sorted(sizes), "but a single head_dim is required")
        parameters = _ROPE[kind] if given is None else given[kind]
        if parameters is None:
            raise FieldError(f"{where}rope_parameters.{kind}", None, "but a value is required")
        ropes[kind] = (_inverse_frequencies(parameters, sizes.pop()), 1.0)
    return ropes


def _inverse_frequencies(rope: Mapping[str, Any], head_dim: int) -> tuple[float, ...]:
    partial = rope["rope_type"] == "proportional"
    share, factor = (rope["partial_rotary_factor"], rope["factor"]) if partial else (1.0, 1.0)
    rotated = int(share * head_dim // 2)
    # In float32 throughout, as the reference computes them.
    exponents = torch.arange(0, 2 * rotated, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / (rope["rope_theta"] ** exponents) / factor
    return (*frequencies.tolist(), *[0.0] * (head_dim // 2 - rotated))
