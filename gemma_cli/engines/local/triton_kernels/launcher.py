"""What all launches on one GPU share."""

from __future__ import annotations

import torch
from torch import Tensor

from gemma_cli.engines.local.triton_kernels.tiles import Card

COUNTERS = 1 << 16
"""Output tiles of the largest launch whose parts are counted."""


class Launcher:
    """The memory that launches on one card write to. Launches follow each other on one stream: they share counters."""

    def __init__(self, device: torch.device, card: Card) -> None:
        self.device, self.card = device, card
        # Each launch leaves them at zero. Made outside inference mode, so that either mode may pass them on.
        with torch.inference_mode(False):
            self._arrived = torch.zeros(COUNTERS, dtype=torch.int32, device=device)

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory for results; the tests put a fence around it."""
        return torch.empty(shape, dtype=dtype, device=self.device)
