"""Kernels of our own for decoding on a CPU: what torch has no fast one for, a few rows at a time.

    on(device) -> Kernels | None        None: this device has none, torch computes everything

Torch reads weights for a few rows at half to two thirds of what memory gives, and takes four kernels for a norm. These
are a few small C files, compiled when a model is first loaded (build.py) by the machine's own compiler, and tried in a
process of their own. Without a compiler, or with GEMMA_KERNELS=torch, torch does the work: slower, to the same rules.

Every kernel gives a row the same bits whatever rows stand beside it, one row alone included.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from gemma_cli.engines.local.native.ops import Kernels


def on(device: torch.device) -> Kernels | None:
    """The kernels for what lies on `device`."""
    return loaded() if device.type == "cpu" else None


@functools.cache
def loaded() -> Kernels | None:
    """Built if need be, once a process."""
    from gemma_cli.engines.local.native.build import library
    from gemma_cli.engines.local.native.ops import Kernels

    built = library()
    try:
        return Kernels(built.path) if built.path else None
    except OSError:  # a cache folder that another system shares
        return None
