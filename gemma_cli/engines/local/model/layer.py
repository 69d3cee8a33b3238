"""One decoder layer, for targets and drafters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from gemma_cli.engines.local import native
from gemma_cli.engines.local.model.layers.activation import gated, gated_by
from gemma_cli.engines.local.model.layers.linear import Linear, Norm, as_dtype
from gemma_cli.engines.local.model.layers.moe import Experts
from gemma_cli.engines.local.model.layers.rope import rotate
from gemma_cli.engines.local.model.schema.architecture import LayerShape


class Attend(Protocol):
    """The storage of keys, and the choice of those that the rows see: attention.FewRows, attention.Chunk,
    drafter.DraftContext.

    rope: (cos, sin) of the rows for each kind of layer; real: the rows that count, before those that fill up a pass;
    fused: the same rows for kernels that compute several steps of a layer (fused_pass.py), None where there are none.
    """

    real: int

    @property
    def rope(self) -> dict[str, tuple[Tensor, Tensor]]: ...

    @property
    def fused(self) -> FusedRows | None: ...

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor: ...


@dataclass
class Attention:
    """qkv: queries, keys and values in one product; values are left out where keys serve as values, and both
    where another layer's are attended to. qk_scale: float32 [heads + kv_heads, head_dim], the norms' weights;
    norm has none."""

    shape: LayerShape
    qkv: Linear
    qk_scale: Tensor
    out: Linear
    norm: Norm

    def __call__(self, x: Tensor, rows: Attend) -> Tensor:
        shape = self.shape
        heads = self.qkv(x).view(x.shape[0], -1, shape.head_dim)
        turned, value = self._turn(heads, *rows.rope[shape.kind])
        query, key = (turned[:, : shape.heads], turned[:, shape.heads :]) if shape.owns_kv else (turned, None)
        mixed = rows.attend(shape, query, key, value)
        return self.out(as_dtype(mixed, x.dtype))

    def _turn(self, heads: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor | None]:
        """Queries and keys, normalised, scaled and rotated, and values, which are normalised alone (where the key is
        the value, it is the key before its own scale). Without keys of its own: queries, None."""
        shape = self.shape
        values = shape.kv_heads if shape.owns_kv else 0
        if kernels := native.on(heads.device):
            turned, value = kernels.turn(heads, self.qk_scale, cos, sin, values, self.norm.eps)
            return turned, value if values else None
        normal = self.norm.wide(heads)
        turning = normal if shape.value_is_key or not values else normal[:, :-values]
        return rotate(turning * self.qk_scale, cos, sin), normal[:, -values:] if values else None


class FusedRows(Protocol):
    """Rows of a pass. count: int64 [1], how many of them count: the others only fill the pass up."""

    @property
    def count(self) -> Tensor: ...

    def mixed(self, attention: Attention, product: Tensor) -> Tensor:
        """Attention of a layer's heads [rows, heads, head_dim]; stores keys and values: [rows, heads * head_dim]."""
        ...


@dataclass
class FeedForward:
    gate_up: Linear
    down: Linear

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(gated(self.gate_up(x)))


@dataclass
class PerLayerInput:
    """The residual that a layer's own embedding of the token adds (E2B, E4B)."""

    gate: Linear
    project: Linear
    norm: Norm

    def add(self, x: Tensor, embedded: Tensor) -> Tensor:
        return self.norm.add(x, self.project(gated_by(self.gate(x), embedded)))


@dataclass
class DecoderLayer:
    index: int
    attention: Attention
    feed_forward: FeedForward
    input_norm: Norm
    post_attention_norm: Norm
    pre_feed_forward_norm: Norm
    post_feed_forward_norm: Norm
    scalar: float
    per_layer_input: PerLayerInput | None = None
    experts: Experts | None = None

    def __call__(self, x: Tensor, embedded: Tensor | None, rows: Attend) -> Tensor:
        """x [rows, hidden] -> [rows, hidden]; embedded: this layer's per-layer embedding [rows, ple] or None."""
        x = self.post_attention_norm.add(x, self.attention(self.input_norm(x), rows))
        mixed = self.feed_forward(self.pre_feed_forward_norm(x))
        if self.experts is not None:
            mixed = self.experts.beside(mixed, x, rows.real)
        x = self.post_feed_forward_norm.add(x, mixed)
        if self.per_layer_input is not None:
            assert embedded is not None
            x = self.per_layer_input.add(x, embedded)
        return x if self.scalar == 1.0 else x * self.scalar
