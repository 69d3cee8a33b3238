"""Weights of four bits in the order that the kernels read.

    pack(parts, shape, device) -> (words uint16 [out, blocks * 32], scales bfloat16 [blocks * 4, out])
    unpack(words, scales, width, dtype) -> weight [out, width]

A block is 128 inputs in 32 words: nibble j of word i is input 32 * j + i. So the same mask and shift give two
neighbouring inputs of a 32-bit register, and each of the four planes of nibbles is one group. A width that is not a
multiple of 128 is filled up with zeros, whose scales are zero too.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

GROUP = 32
"""Inputs that share a scale, as in model/layers/rounding.py."""

BLOCK = 4 * GROUP


def pack(parts: Iterable[tuple[Tensor, Tensor]], shape: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pack a weight of this shape, [out, width].

    parts: numbers, uint8 0 .. 15 [n, width], and scales [n, width / 32] of some rows at a time, in order.
    """
    out, width = shape
    blocks = -(-width // BLOCK)
    words = torch.empty(out, blocks * GROUP, dtype=torch.uint16, device=device)
    scales = torch.zeros(blocks * 4, out, dtype=torch.bfloat16, device=device)
    first = 0
    for numbers, scale in parts:
        rows = slice(first, first + len(numbers))
        planes = F.pad(numbers.int(), (0, blocks * BLOCK - width), value=8).view(-1, blocks, 4, GROUP).unbind(2)
        packed = planes[0] | planes[1] << 4 | planes[2] << 8 | planes[3] << 12
        words[rows] = packed.view(len(numbers), -1).to(torch.uint16)
        scales[: scale.shape[1], rows] = scale.t()
        first += len(numbers)
    assert first == out
    return words, scales


def unpack(words: Tensor, scales: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return the weight [out, width] that `pack` packed: (number - 8) * scale."""
    out = words.shape[0]
    wide = words.view(torch.int16).view(out, -1, 1, GROUP)
    shifts = torch.arange(0, 16, 4, device=words.device, dtype=torch.int16)[:, None]
    numbers = (wide >> shifts).bitwise_and_(15).to(dtype).sub_(8)
    return numbers.mul_(scales.t().to(dtype).view(out, -1, 4, 1)).view(out, -1)[:, :width]
