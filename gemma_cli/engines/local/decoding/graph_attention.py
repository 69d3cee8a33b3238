"""Attention of decoding rows whose positions only the device knows.

The same keys, masks and sums as attention.FewRows and drafter.DraftContext, bit for bit in the target's case, but with
nothing that depends on a number the host would have to hold: rows are stored by index, what a row may not see is masked
by comparing positions, and the number of keys read from full layers, `lengths`, is given. So a pass is one fixed
sequence of kernels over fixed memory, which a CUDA graph can record (cuda_graphs.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gemma_cli.engines.local.model.attention import few_rows
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.schema.architecture import LayerShape
from gemma_cli.engines.local.model.target import Target


class StaticRows:
    """`rows` target rows from position `start`, int64 [1], on. lengths: the bucket of the first row, and the next one
    where the rows may reach into it; each row reads the one that is its own. real: as layer.Attend's; None: all."""

    fused = None

    def __init__(
        self,
        target: Target,
        cache: Cache,
        start: Tensor,
        rows: int,
        lengths: tuple[int, ...],
        real: int | None = None,
    ) -> None:
        self.cache, self.real = cache, real or rows
        positions = start + torch.arange(rows, device=start.device)
        self.rope = {kind: rope.at(positions) for kind, rope in target.ropes.items()}
        row = positions[:, None]
        distance = (row - torch.arange(cache.ring_slots, device=start.device)) % cache.ring_slots
        self._ring_mask = _additive((distance < target.arch.window) & (distance <= row))
        self._full = [(length, _additive(torch.arange(length, device=start.device) <= row)) for length in lengths]
        self._first = row < lengths[0]
        self._positions, self._ring_positions = positions, positions % cache.ring_slots

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        """As FewRows.attend."""
        slots = self.cache.layers[layer.source]
        if key is not None and value is not None:
            where = self._ring_positions if layer.sliding else self._positions
            slots.keys.index_copy_(1, where, key.transpose(0, 1).to(slots.keys.dtype))
            slots.values.index_copy_(1, where, value.transpose(0, 1).to(slots.values.dtype))
        if layer.sliding:
            return few_rows(query, slots.keys, slots.values, self._ring_mask)
        outputs = [
            few_rows(query, slots.keys[:, :length], slots.values[:, :length], mask) for length, mask in self._full
        ]
        return outputs[0] if len(outputs) == 1 else torch.where(self._first, outputs[0], outputs[1])


class StaticDraft:
    """The view of a draft that begins after `newest`, int64 [1]: the keys before that position."""

    real, fused = 1, None

    def __init__(self, target: Target, drafter: Drafter, cache: Cache, newest: Tensor, length: int) -> None:
        self.target = target
        self.rope = {kind: rope.at(newest) for kind, rope in drafter.ropes.items()}
        last = (newest - 1)[:, None]
        distance = (last - torch.arange(cache.ring_slots, device=newest.device)) % cache.ring_slots
        sliding, full = cache.layers[target.arch.last_own_sliding], cache.layers[target.arch.last_own_full]
        self._sliding = (
            *(sliding.keys, sliding.values),
            _additive((distance < drafter.arch.window) & (distance <= last)),
        )
        self._full = (
            *(full.keys[:, :length], full.values[:, :length]),
            _additive(torch.arange(length, device=newest.device) <= last),
        )

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        """As DraftContext.attend."""
        return few_rows(query, *(self._sliding if layer.sliding else self._full))


def _additive(seen: Tensor) -> Tensor:
    """float32 [rows, 1, keys]: 0 where a key is seen, else -inf."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, float("-inf"))[:, None]
