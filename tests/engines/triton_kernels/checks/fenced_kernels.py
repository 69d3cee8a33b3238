"""The Triton kernels in the interpreter, with fences around all memory they read or write.

A fence is a stretch of what is not a number, or of a telltale integer, on both sides of a tensor: what is read beyond
the end of a tensor shows in the result, and what is written there is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gemma_cli.engines.local.triton_kernels.tiles import Card
from tests.engines.triton_kernels.checks.interpreter import mend

mend()

from gemma_cli.engines.local.triton_kernels.kernels import Kernels  # noqa: E402  (its kernels are made when imported)

FENCE = 1024
"""Elements; more than any kernel's tile reaches beyond the end of a row."""

CARDS = {
    "A100": Card((8, 0), 108),
    "RTX 4090": Card((8, 9), 128),
    "H100": Card((9, 0), 132),
    "B200": Card((10, 0), 148),
    "RTX 5090": Card((12, 0), 170),
}


def poison(dtype: torch.dtype) -> float:
    """Return the value of fences and of memory that nothing was written to."""
    return float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max


def fenced(tensor: Tensor) -> Tensor:
    """Copy a tensor to memory with a fence on both sides."""
    view = _within(tensor.shape, tensor.dtype)[0]
    view.copy_(tensor)
    return view


def _within(shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A poisoned tensor, and the memory around it."""
    size = torch.Size(shape).numel()
    memory = torch.full((size + 2 * FENCE,), poison(dtype), dtype=dtype)
    return memory[FENCE : FENCE + size].view(shape), memory


class FencedKernels(Kernels):
    """Kernels of a card, run on the CPU; `check_fences` after launches."""

    def __init__(self, card: Card = CARDS["H100"]) -> None:
        super().__init__(torch.device("cpu"), card)
        self._fenced: list[tuple[Tensor, Tensor]] = []

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        view, memory = _within(shape, dtype)
        self._fenced.append((view, memory))
        return view

    def check_fences(self) -> None:
        """Assert that no launch wrote beyond its memory and that all counters are back at zero."""
        for view, memory in self._fenced:
            clean = torch.full((FENCE,), poison(memory.dtype), dtype=memory.dtype)
            for side in (memory[:FENCE], memory[-FENCE:]):
                assert torch.equal(bits(side), bits(clean)), f"a kernel wrote beyond the end of {tuple(view.shape)}"
        self._fenced.clear()
        assert not self._arrived.any(), "a kernel left its counters behind"


def bits(x: Tensor) -> Tensor:
    """The bytes of a tensor: equal only where every bit is."""
    return x.contiguous().view(torch.uint8)
