"""Features of media between runs of the program: what a tower made once is not made again.

They are taken only for what would be made here to the last bit: the same medium and budget, checkpoint, device, data
type and versions of the libraries that compute them.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version

import torch
from torch import Tensor

from gemma_cli.core.engine import FeatureShelf

VERSION = 1
"""Of the form, and of all that makes features and is not in the key."""


class KeptFeatures:
    """The shelf of one tower. hidden: how wide its rows are."""

    def __init__(
        self, shelf: FeatureShelf, checkpoint: str, device: torch.device, dtype: torch.dtype, hidden: int
    ) -> None:
        self._shelf, self._device, self._dtype, self._hidden = shelf, device, dtype, hidden
        where = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else torch.cuda.get_device_name(device)
        versions = (VERSION, torch.__version__, version("transformers"))
        self._tower = repr((*versions, checkpoint, device.type, where, torch.get_num_threads(), str(dtype)))

    def find(self, key: tuple[str, int]) -> Tensor | None:
        """Return [rows, hidden] as it was kept; None where it was not, or does not fit."""
        kept = self._shelf.find(key[0], self._name(key))
        width = self._hidden * self._dtype.itemsize
        if not kept or len(kept) % width:
            return None
        rows = torch.frombuffer(bytearray(kept), dtype=self._dtype).view(-1, self._hidden)
        return rows.to(self._device)

    def keep(self, key: tuple[str, int], rows: Tensor) -> None:
        """Keep what a tower made."""
        content = rows.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes()
        self._shelf.keep(key[0], self._name(key), content)

    def _name(self, key: tuple[str, int]) -> str:
        return hashlib.sha256(f"{self._tower} {key[1]}".encode()).hexdigest()
