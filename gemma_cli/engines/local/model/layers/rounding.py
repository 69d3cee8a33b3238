"""Rounding of weights to 8 or 4 bits, to the nearest.

    eight_bits(weight) -> (numbers int8 [out, in], scale float32 [out])             weight = number * scale
    four_bits(weight) -> (numbers uint8 [out, in], scale [out, in / GROUP])         weight = (number - 8) * scale

Eight bits take one scale a row, the largest magnitude becoming 127. Four bits take one scale for each GROUP inputs,
chosen as in llama.cpp's Q4_0: the number of largest magnitude becomes -8, whatever its sign. On normal weights that
errs 11 % less than symmetric rounding to -7 .. 7, and it is the grid Google trained the "q4_0-unquantized" checkpoints
for: their weights lie on it, so rounding changes them by no more than bfloat16 had already.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

GROUP = 32
"""Inputs that share a scale of four-bit weights: that of Q4_0 and of Google's w4a16 checkpoints."""

ELEMENTS = 1 << 17
"""Elements rounded at a time, about: the float32 in between stays small."""

BLOCK = 64
"""Rows of which a slice is a multiple: as many as any kernel puts side by side, or a multiple of it."""


def eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [out, in], any float; see the module's docstring."""
    numbers = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device)
    for part in slices(*weight.shape):
        wide = weight[part].float()
        scale[part] = _positive(wide.abs().amax(1) / 127)
        numbers[part] = wide.div(scale[part, None]).round_()
    return numbers, scale


def four_bits(weight: Tensor, scale_dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, Tensor]:
    """weight [out, in], any float, in a multiple of GROUP. scale_dtype: what kernels keep scales in; the numbers are
    rounded to fit the scales as they are kept."""
    out, width = weight.shape
    numbers = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    scale = torch.empty(out, width // GROUP, dtype=scale_dtype, device=weight.device)
    for part in slices(out, width):
        groups = weight[part].float().view(-1, width // GROUP, GROUP)
        low, high = groups.aminmax(dim=-1)
        scale[part] = torch.where(-low >= high, low, high) / -8
        kept = scale[part].float()
        kept = torch.where(kept == 0, 1.0, kept)
        numbers[part] = groups.div(kept[..., None]).add_(8).round_().clamp_(0, 15).view(-1, width)
    return numbers, scale


def from_eight_bits(numbers: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weights that 8-bit numbers [..., in] with scales [...] stand for."""
    return (numbers * scale[..., None]).to(dtype)


def from_four_bits(numbers: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weights that 4-bit numbers stand for; groups may have any size."""
    groups = numbers.view(*scale.shape, -1).float().sub_(8)
    return (groups * scale[..., None].float()).view(numbers.shape).to(dtype)


def slices(rows: int, width: int) -> Iterator[slice]:
    """The rows of a weight [rows, width], some at a time."""
    step = max(1, ELEMENTS // width // BLOCK) * BLOCK
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def _positive(scale: Tensor) -> Tensor:
    """1 where a row is nothing but zeros."""
    return torch.where(scale == 0, 1.0, scale)
