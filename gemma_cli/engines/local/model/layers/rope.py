"""Rotary position embedding: sines and cosines by position, one table per kind of layer.

    rotated = x * cos + roll(x, head_dim / 2) * sin      with the first half of `sin` negated

which is the usual "rotate half", with the sign moved into the table: one kernel fewer per layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gemma_cli.engines.local.device import has_float64
from gemma_cli.engines.local.kernel_table import Functions

BLOCK = 1024
OVERHANG = 64
BLOCKS = 8
"""Blocks that are kept at most, for sequences of several lengths that are decoded side by side."""


class Rope:
    """Tables for one kind of layer. A few blocks of positions are kept, because a table for a whole 262144-token
    context of 512-wide heads would take a gigabyte; decoding stays inside a block for a thousand tokens."""

    def __init__(self, frequencies: tuple[float, ...], factor: float, device: torch.device) -> None:
        self._device = device
        where = device if has_float64(device) else torch.device("cpu")
        self._frequencies = torch.tensor(frequencies, dtype=torch.float32, device=where)
        self._factor = factor
        self._blocks: dict[int, tuple[Tensor, Tensor]] = {}  # the oldest first

    def rows(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """(cos, sin), float32 [count, 1, head_dim], for positions start .. start + count - 1."""
        if count > OVERHANG:
            cos, sin = self._compute(start, count)
            return cos, sin
        cos, sin, offset = self.block(start)
        return cos[offset : offset + count], sin[offset : offset + count]

    def block(self, start: int) -> tuple[Tensor, Tensor, int]:
        """(cos, sin, row): a block whose rows from `row` on are those of `start` and OVERHANG - 1 more positions."""
        block, offset = divmod(start, BLOCK)
        if block not in self._blocks:
            if len(self._blocks) == BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[block] = self._compute(block * BLOCK, BLOCK + OVERHANG)
        return *self._blocks[block], offset

    def _compute(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        cos, sin = self.at(torch.arange(start, start + count, device=self._frequencies.device))
        return cos.to(self._device), sin.to(self._device)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `rows` for positions int64 [n], on the device where that has float64, else on the CPU."""
        # The angle is a float32 product, as in the reference. Sine and cosine are rounded from float64, so that a
        # position has the same bits whichever block it was computed in (vector and scalar kernels may differ).
        angles = positions[:, None].float() * self._frequencies
        wide = angles.double()
        cos, sin = wide.cos().float() * self._factor, wide.sin().float() * self._factor
        return torch.cat((cos, cos), -1)[:, None], torch.cat((-sin, sin), -1)[:, None]

    def fused(self, functions: Functions, position: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Compute `rows` for positions from `position`, int64 [1], on, by kernels."""
        return functions.rotation(position, self._frequencies, self._factor, count)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: [rows, heads, head_dim]."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
