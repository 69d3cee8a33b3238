"""Which device and which number format to run in."""

from __future__ import annotations

from pathlib import Path

import torch


def choose_device(name: str) -> torch.device:
    return torch.device("cpu")


def choose_dtype(name: str, device: torch.device, folder: Path | None = None) -> torch.dtype:
    return torch.float32
