"""The shapes of all linear layers and attention layers of the released models and their drafters."""

from __future__ import annotations

from dataclasses import dataclass

from gemma_cli.engines.local.loading.synthetic import NAMES, drafter_config, target_config
from gemma_cli.engines.local.model.schema.architecture import Architecture, read_architecture, read_drafter


@dataclass(frozen=True, order=True)
class AttentionShape:
    """group: query heads that share keys; window: 0 for a full layer."""

    group: int
    dim: int
    window: int


@dataclass(frozen=True)
class ModelShapes:
    """[out, width] of every layer but the experts': linear, of all that end with their sums; pairs, of gates and ups;
    times, of gates alone. experts: (experts, per row, hidden, inner width); hidden: the hidden sizes."""

    linear: frozenset[tuple[int, int]]
    pairs: frozenset[tuple[int, int]]
    times: frozenset[tuple[int, int]]
    attention: frozenset[AttentionShape]
    experts: tuple[int, int, int, int] | None
    hidden: tuple[int, int]


def released_shapes(name: str) -> ModelShapes:
    """Return the shapes of a target and its drafter."""
    target = read_architecture(target_config(name))
    config = drafter_config(name)
    drafter = read_drafter(config, read_architecture(config["text_config"]))
    linear = _linear(target) | _linear(drafter.decoder)
    linear |= {(drafter.decoder.hidden, 2 * target.hidden), (target.hidden, drafter.decoder.hidden)}
    if drafter.centroids:
        linear |= {(drafter.centroids, drafter.decoder.hidden)}
    experts = None
    if target.experts:
        experts = (target.experts, target.experts_per_row, target.hidden, target.expert_intermediate)
    attention, hidden = _attention(target) | _attention(drafter.decoder), (target.hidden, drafter.decoder.hidden)
    both = (target, drafter.decoder)
    pairs = frozenset((2 * layer.intermediate, arch.hidden) for arch in both for layer in arch.layers)
    times = frozenset((arch.ple, arch.hidden) for arch in both if arch.ple)
    return ModelShapes(frozenset(linear), pairs, times, attention, experts, hidden)


def every_shape() -> dict[str, ModelShapes]:
    """Return the shapes of each released model."""
    return {name: released_shapes(name) for name in NAMES}


def _linear(arch: Architecture) -> set[tuple[int, int]]:
    found = {(arch.vocab, arch.hidden)}
    for layer in arch.layers:
        keys = 0 if not layer.owns_kv else layer.kv_heads if layer.value_is_key else 2 * layer.kv_heads
        found |= {((layer.heads + keys) * layer.head_dim, arch.hidden), (arch.hidden, layer.heads * layer.head_dim)}
        found |= {(arch.hidden, layer.intermediate)}
    if arch.ple:
        found |= {(arch.hidden, arch.ple), (len(arch.layers) * arch.ple, arch.hidden)}
    if arch.experts:
        found |= {(arch.experts, arch.hidden)}
    return found


def _attention(arch: Architecture) -> frozenset[AttentionShape]:
    return frozenset(
        AttentionShape(layer.heads // layer.kv_heads, layer.head_dim, arch.window if layer.sliding else 0)
        for layer in arch.layers
    )
