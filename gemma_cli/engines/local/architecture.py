"""What a text config says, read once: the shape of every layer and which layer keeps its keys and values.

transformers' config classes stay the source; nothing else in the engine reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

VisionMask = Literal["causal", "sliding", "everywhere"]
"""How image rows see each other: as text does; both ways in sliding layers and inside the window (26B, 31B); both
ways in every layer, however far (the 12B "unified" model, as stock transformers' forward masks it)."""


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
    def kind(self) -> Literal["sliding_attention", "full_attention"]:
        return "sliding_attention" if self.sliding else "full_attention"


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
    def last_own_sliding(self) -> int:
        """The layer whose keys and values every shared sliding layer, and the drafter, reads."""
        return max(layer.index for layer in self.layers if layer.owns_kv and layer.sliding)

    @property
    def last_own_full(self) -> int:
        return max(layer.index for layer in self.layers if layer.owns_kv and not layer.sliding)


def read_architecture(config: Any) -> Architecture:
    """Architecture of a Gemma4TextConfig or Gemma4UnifiedTextConfig (also a drafter's, whose layers own no keys).

    Drafter layers get source -1: what they attend to belongs to the target.
    """
    moe = getattr(config, "enable_moe_block", False)
    ple = getattr(config, "hidden_size_per_layer_input", 0) or 0
    return Architecture(
        layers=tuple(_layer(config, index) for index in range(config.num_hidden_layers)),
        hidden=config.hidden_size,
        vocab=config.vocab_size,
        window=config.sliding_window,
        context=config.max_position_embeddings,
        eps=config.rms_norm_eps,
        softcap=config.final_logit_softcapping,
        pad_id=config.pad_token_id or 0,
        tied=config.tie_word_embeddings,
        ple=ple,
        ple_vocab=config.vocab_size_per_layer_input if ple else 0,
        experts=config.num_experts if moe else 0,
        experts_per_row=config.top_k_experts if moe else 0,
        expert_intermediate=config.moe_intermediate_size if moe else 0,
        vision_mask=_vision_mask(config),
        rope={kind: _inverse_frequencies(config, kind) for kind in sorted(set(config.layer_types))},
    )


def _layer(config: Any, index: int) -> LayerShape:
    own = config.num_hidden_layers - config.num_kv_shared_layers
    kind = config.layer_types[index]
    source = index
    if index >= own:
        earlier = [i for i in range(own) if config.layer_types[i] == kind]
        source = earlier[-1] if earlier else -1
    shape = config.per_layer_config[index]
    doubled = getattr(config, "use_double_wide_mlp", False) and index >= own > 0
    return LayerShape(
        index=index,
        sliding=kind == "sliding_attention",
        heads=config.num_attention_heads,
        kv_heads=shape.num_key_value_heads,
        head_dim=shape.head_dim,
        intermediate=config.intermediate_size * (2 if doubled else 1),
        source=source,
        value_is_key=config.attention_k_eq_v and kind == "full_attention",
    )


def _vision_mask(config: Any) -> VisionMask:
    if config.use_bidirectional_attention != "vision":
        return "causal"
    return "everywhere" if config.model_type.startswith("gemma4_unified") else "sliding"


def _inverse_frequencies(config: Any, kind: str) -> tuple[tuple[float, ...], float]:
    """(inverse frequency per rotated pair, 0 where a pair is not rotated; factor on sine and cosine)."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.gemma4.modeling_gemma4 import Gemma4TextRotaryEmbedding

    layer_config = config.per_layer_config[kind]
    rope_type = config.rope_parameters[kind]["rope_type"]
    compute = (
        Gemma4TextRotaryEmbedding.compute_default_rope_parameters
        if rope_type == "default"
        else ROPE_INIT_FUNCTIONS[rope_type]
    )
    frequencies, factor = compute(layer_config, "cpu", layer_type=kind)
    return tuple(frequencies.tolist()), factor
