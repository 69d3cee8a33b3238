"""The Triton kernels: every function against torch, and a row alone against the same row among others."""

from __future__ import annotations

from typing import Any

import torch

from gemma_cli.engines.local.triton_kernels import availability
from gemma_cli.engines.local.triton_kernels.ops import functions
from gemma_cli.engines.local.triton_kernels.reference import Reference
from gemma_cli.engines.local.triton_kernels.self_check import check as check_functions

SIZES = (256, 1536, 2816)
"""Inputs of a layer: a small one, E2B's and 26B's."""


def check(device: torch.device, small: bool) -> dict[str, Any]:
    """Every function at several sizes; in small, torch's stand-ins for them."""
    if small and device.type == "cpu":
        return {"relative error": max(check_functions(Reference(), device, 64).values()), "not run": "for NVIDIA GPUs"}
    if why := availability.why_not(device):
        return {"not run": why}
    worst: dict[str, float] = {}
    for size in SIZES:
        for name, error in check_functions(functions, device, size).items():
            worst[name] = max(error, worst.get(name, 0.0))
    return {"kernels": availability.version(), **worst}
