"""Our own kernels for decoding on a CPU: operations on a few rows that torch has no fast kernel for.

    on(device) -> Kernels | None        None: this device has none, torch computes everything

For a few rows, torch reads weights at half to two thirds of the memory bandwidth, and runs four kernels for a norm. Our
kernels are a few small C files. The machine's own compiler builds them when a model is first loaded (build.py), and a
separate process checks them. Without a compiler, or with GEMMA_KERNELS=torch, torch computes everything: more slowly,
but by the same rules.

Every kernel gives a row the same bits, alone or next to any other rows.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from gemma_cli.engines.local.native.ops import Kernels


def on(device: torch.device) -> Kernels | None:
    """Return the kernels for tensors on `device`; None if it has none."""
    return loaded() if device.type == "cpu" else None


def notice(device: torch.device) -> str | None:
    """Return a notice about the kernels on `device`, if their state has changed since the last run."""
    return (_loaded()[1] or None) if device.type == "cpu" else None


def build_name(device: torch.device) -> str | None:
    """Return a hash of the kernels' sources, flags and processor; None if `device` has no kernels."""
    kernels = on(device)
    return kernels.name if kernels else None


def loaded() -> Kernels | None:
    """Return the kernels for this processor; build them if necessary."""
    return _loaded()[0]


@functools.cache
def _loaded() -> tuple[Kernels | None, str]:
    """Load the kernels, once a process, with as many threads as torch; return them and the notice about them."""
    from gemma_cli.engines.local.native.build import SLOWER, library
    from gemma_cli.engines.local.native.ops import Kernels

    built = library()
    if built.path is None:
        return None, built.notice
    try:
        kernels = Kernels(built.path)
    except OSError as error:  # a cache folder that another system shares
        return None, f"{built.path}: the kernels cannot be loaded ({error}), so {SLOWER}"
    kernels.set_threads(torch.get_num_threads())
    return kernels, built.notice
