"""Matmuls with eight-bit weights for CUDA: of integers, with activations in two halves, or of weights widened again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local.model.layers.rounding import from_eight_bits

LinearFunction = Callable[[Tensor], Tensor]

STEPS = 32639
"""The largest 16-bit activation, 127 * 256 + 127: both of its halves are signed bytes."""

INTEGER_ROWS = 32
"""Rows that torch._int_mm is given at least; it takes more than 16."""

TILE = 8
"""Both sides of a weight that torch._int_mm takes are multiples of this."""

WIDENED = 1 << 23
"""Elements of a weight that are widened at a time, about: what is made of them stays in the cache of a GPU."""


def halves(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write x [rows, in] as (256 * high + low) * step: whole numbers from -128 to 127, and float32 [rows, 1]."""
    wide = x.float()
    step = torch.linalg.vector_norm(wide, float("inf"), -1, keepdim=True).div_(STEPS).clamp_min_(1e-30)
    whole = wide.div(step).round_()
    high = whole.mul(1 / 256).add_(0.5).floor_()
    return high, torch.sub(whole, high, alpha=256), step


def integer_halves(numbers: Tensor, scale: Tensor) -> LinearFunction:
    """The integer product of cuBLAS; see the module's docstring."""
    columns = numbers.t()

    def product(x: Tensor) -> Tensor:
        high, low, step = halves(x)
        rows = x.shape[0]
        both = F.pad(torch.cat((high, low)).to(torch.int8), (0, 0, 0, max(0, INTEGER_ROWS - 2 * rows)))
        sums = torch._int_mm(both, columns).float()
        return torch.add(sums[rows : 2 * rows], sums[:rows], alpha=256).mul_(step).mul_(scale).to(x.dtype)

    return product


def widened(numbers: Tensor, scale: Tensor) -> LinearFunction:
    """Widened at every call, some rows of the weight at a time: saves memory, not time."""
    step = max(1, WIDENED // numbers.shape[1])
    parts = list(zip(torch.split(numbers, step), torch.split(scale, step), strict=True))
    return lambda x: torch.cat([torch.mm(x, from_eight_bits(*part, x.dtype).t()) for part in parts], 1)
