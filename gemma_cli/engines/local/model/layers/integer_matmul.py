"""Matmuls with eight-bit weights for CUDA: of integers, with activations in two halves, or of weights widened again."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local.model.layers.rounding import from_eight_bits
from gemma_cli.engines.local.model.layers.torch_int8 import LinearFunction, halves
from gemma_cli.engines.local.triton_kernels.layout import unpack

INTEGER_ROWS = 32
"""Rows that torch._int_mm is given at least; it takes more than 16."""

TILE = 8
"""Both sides of a weight that torch._int_mm takes are multiples of this."""

WIDENED = 1 << 23
"""Elements of a weight that are widened at a time, about: what is made of them stays in the cache of a GPU."""


def integer_halves(numbers: Tensor, scale: Tensor) -> LinearFunction:
    """Return an integer matmul with these weights, of activations in two halves (torch_int8.py).

    torch's own kernel for CUDA reads the weights once for every row; torch._int_mm reads them once, and prefill runs on
    int8 tensor cores.
    """
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


def widened_words(words: Tensor, scales: Tensor, width: int) -> LinearFunction:
    """Same as `widened`, for weights of four bits in the layout of Triton's kernels."""
    step = max(1, WIDENED // width)
    parts = [(words[first : first + step], scales[:, first : first + step]) for first in range(0, len(words), step)]
    return lambda x: torch.cat([torch.mm(x, unpack(*part, width, x.dtype).t()) for part in parts], 1)


@functools.cache
def int8_on_cuda() -> bool:
    """Return whether torch's integer matmul runs on CUDA (compute capability 7.5)."""
    try:
        numbers = torch.ones(64, 64, dtype=torch.int8, device="cuda")
        product = integer_halves(numbers, torch.ones(64, device="cuda"))(torch.ones(2, 64, device="cuda"))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((product == 64).all())
