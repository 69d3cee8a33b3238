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


def notice(device: torch.device) -> str | None:
    """A line for the user about the kernels on `device`, where something happened that did not before."""
    return (_loaded()[1] or None) if device.type == "cpu" else None


def build_name(device: torch.device) -> str | None:
    """Name of the kernels' build for `device`: a hash of their sources, flags and processor; None without kernels."""
    kernels = on(device)
    return kernels.name if kernels else None


def loaded() -> Kernels | None:
    """The kernels for this processor, built if need be."""
    return _loaded()[0]


@functools.cache
def _loaded() -> tuple[Kernels | None, str]:
    """The kernels and the notice about them, once a process. They compute on as many threads as torch."""
    from gemma_cli.engines.local.native.build import SLOWER, library
    from gemma_cli.engines.local.native.ops import Kernels

    built = library()
    if built.path is None:
        return None, built.notice
    try:
        kernels = Kernels(built.path)
    except OSError as error:  # a cache folder that another system shares
        return None, f"{built.path} cannot be loaded here, so {SLOWER}: {error}"
    kernels.set_threads(torch.get_num_threads())
    return kernels, built.notice
