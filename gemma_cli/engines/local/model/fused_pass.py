"""A pass of a few rows through decoder layers by kernels that each do several of a layer's steps (kernel_table.py).

The same layers as layer.DecoderLayer's, in fewer launches: a norm is computed where its input is added to the residual,
and heads are normalised, rotated and stored in one step. Where a row stands is in memory of the device, so a recorded
pass serves every position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from gemma_cli.engines.local.kernel_table import Functions
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.layer import Attention, DecoderLayer, FusedRows
from gemma_cli.engines.local.model.layers.linear import Linear, Norm
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.triton_kernels.tiles import Bits


class Placed:
    """Rows of one sequence that stand at `position`, int64 [1], and after it.

    logged: the same position and the number of rows that count, where the host knows them, for the cache's log.
    """

    def __init__(
        self,
        functions: Functions,
        cache: Cache,
        ropes: Mapping[str, Rope],
        position: Tensor,
        rows: int,
        count: Tensor,
        logged: tuple[int, int] | None = None,
    ) -> None:
        self.count, self._logged = count, logged
        self._functions, self._cache, self._position = functions, cache, position
        self._ropes, self._rows = ropes, rows
        self._turning: dict[str, tuple[Tensor, Tensor]] = {}

    def mixed(self, attention: Attention, product: Tensor) -> Tensor:
        shape = attention.shape
        if shape.kind not in self._turning:
            self._turning[shape.kind] = self._ropes[shape.kind].fused(self._functions, self._position, self._rows)
        slots = self._cache.layers[shape.source]
        query = self._functions.turn(
            product, attention.qk_scale, *self._turning[shape.kind], self._position, slots.keys, slots.values,
            shape.heads, attention.norm.eps,
        )  # fmt: skip
        if self._logged and (log := self._cache.log) and log.layer == shape.index:
            start, real = self._logged
            log.write(start, query[:real])
        window = self._cache.window if shape.sliding else 0
        return self._functions.attend(query, slots.keys, slots.values, self._position, window)


def run(
    functions: Functions,
    layers: Sequence[DecoderLayer],
    x: Tensor,
    per_layer: Tensor | None,
    rows: FusedRows,
    last: Norm,
) -> Tensor:
    """Return x [rows, hidden] after `layers` and the norm `last`. per_layer: embeddings [rows, layers, ple] or None."""
    norms = [layer.input_norm for layer in layers] + [last]
    y = functions.norm(x, _weight(norms[0]), norms[0].eps)
    for layer, following in zip(layers, norms[1:], strict=True):
        embedded = None if per_layer is None else per_layer[:, layer.index]
        x, y = _layer(functions, layer, x, y, embedded, rows, following)
    return y


def _layer(
    functions: Functions,
    layer: DecoderLayer,
    x: Tensor,
    y: Tensor,
    embedded: Tensor | None,
    rows: FusedRows,
    following: Norm,
) -> tuple[Tensor, Tensor]:
    """The residual after a layer, and normalised by `following`. x: the residual before it; y: x after its own norm."""
    attention, eps = layer.attention, following.eps
    product = attention.qkv(y).view(len(y), -1, attention.shape.head_dim)
    mixed = attention.out(rows.mixed(attention, product))
    pre, post = _weight(layer.pre_feed_forward_norm), _weight(layer.post_attention_norm)
    gate_up, down = layer.feed_forward.gate_up, layer.feed_forward.down
    after, last = _weight(layer.post_feed_forward_norm), _weight(following)
    if experts := layer.experts:
        router, inner = _weight(experts.router_norm), _weight(experts.norm)
        x, y, routed, asked = functions.add_norms(x, mixed, post, eps, [pre, router, inner])
        dense = down(functions.gated_linear(y, *_few(gate_up), None))
        parts, choice = experts.of_few(functions, asked, experts.router(routed), rows.count)
        weights = [_weight(experts.expert_norm), _weight(experts.dense_norm), after, last]
        return functions.add_experts(parts, choice, dense, weights, x, eps, layer.scalar)
    x, y = functions.add_norm(x, mixed, post, eps, 1.0, pre)
    mixed = down(functions.gated_linear(y, *_few(gate_up), None))
    if (ple := layer.per_layer_input) is None:
        return functions.add_norm(x, mixed, after, eps, layer.scalar, last)
    x = functions.add(x, mixed, after, eps, 1.0)
    more = ple.project(functions.gated_linear(x, *_few(ple.gate), embedded))
    return functions.add_norm(x, more, _weight(ple.norm), eps, layer.scalar, last)


def _few(linear: Linear) -> tuple[Bits, Tensor, Tensor | None]:
    assert linear.few
    return linear.few


def _weight(norm: Norm) -> Tensor:
    assert norm.weight is not None
    return norm.weight


class Joined:
    """Rows of several sequences in one pass, and copies of the last that fill it up."""

    def __init__(self, parts: Sequence[FusedRows], sizes: list[int], missing: int) -> None:
        self._parts, self._sizes, self._missing = parts, sizes, missing

    @cached_property
    def count(self) -> Tensor:
        first = self._parts[0].count
        return torch.full_like(first, sum(self._sizes))

    def mixed(self, attention: Attention, product: Tensor) -> Tensor:
        each = torch.split(product[: sum(self._sizes)], self._sizes)
        found = [part.mixed(attention, own) for part, own in zip(self._parts, each, strict=True)]
        return torch.cat([*found, found[-1][-1:].expand(self._missing, -1)])
