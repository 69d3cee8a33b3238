"""The rows of a round whose positions only the device knows, for kernels of whole passes (model/fused_pass.py).

They read as many keys as a row may see, wherever it stands: one recorded graph serves every length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gemma_cli.engines.local.kernel_table import Functions
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.fused_pass import Placed
from gemma_cli.engines.local.model.layer import Attention
from gemma_cli.engines.local.model.target import Target


def target_rows(functions: Functions, target: Target, cache: Cache, start: Tensor, rows: int, count: Tensor) -> Placed:
    """`rows` rows of the target from position `start`, int64 [1], on; count: int64 [1], how many of them count."""
    return Placed(functions, cache, target.ropes, start, rows, count)


class DraftRow:
    """The row of a draft step after `newest`, int64 [1]: it sees the target's keys before that position."""

    def __init__(self, functions: Functions, target: Target, drafter: Drafter, cache: Cache, newest: Tensor) -> None:
        self.count = torch.ones_like(newest)
        self._functions, self._cache, self._newest, self._last = functions, cache, newest, newest - 1
        self._sources = {True: target.arch.last_own_sliding, False: target.arch.last_own_full}
        self._turning = {kind: rope.fused(functions, newest, 1) for kind, rope in drafter.ropes.items()}

    def mixed(self, attention: Attention, product: Tensor) -> Tensor:
        """As fused_pass.FusedRows.mixed; nothing is stored."""
        shape = attention.shape
        slots = self._cache.layers[self._sources[shape.sliding]]
        query = self._functions.turn(
            product, attention.qk_scale, *self._turning[shape.kind], self._newest, slots.keys, slots.values,
            shape.heads, attention.norm.eps,
        )  # fmt: skip
        window = self._cache.window if shape.sliding else 0
        return self._functions.attend(query, slots.keys, slots.values, self._last, window)
