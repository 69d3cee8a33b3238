"""Who computes a decoding pass of a few rows on each device.

    device                               computed by                     few_rows(device)
    CPU with a compiler                  C kernels (native/)             None: the layers call them one by one
    CUDA, compute capability >= 8.0      Triton (triton_kernels/)        the functions of a whole pass
    everything else                      torch                           None

Prompts are computed by torch on every GPU. GEMMA_KERNELS=torch leaves everything to torch.
"""

from __future__ import annotations

import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.triton_kernels import availability
from gemma_cli.engines.local.triton_kernels.ops import Functions, KernelFailure, functions

__all__ = ["Functions", "KernelFailure", "build_name", "describe", "few_rows", "give_up", "notice"]


def few_rows(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Functions | None:
    """Return the functions that compute a whole pass of a few rows in `dtype` on `device`, or None."""
    if dtype != torch.bfloat16 or availability.why_not(device):
        return None
    return functions


def give_up(device: torch.device, failure: KernelFailure) -> None:
    """Leave `device` to torch for the rest of the process."""
    availability.give_up(device, str(failure))


def build_name(device: torch.device) -> str | None:
    """Return a name of the kernels that differs where their bits may; None where torch computes everything."""
    return availability.version() if few_rows(device) else native.build_name(device)


def notice(device: torch.device) -> str | None:
    """Return a notice about the kernels on `device`, if their state has changed since the last run."""
    return availability.notice(device) or native.notice(device)


def describe(device: torch.device) -> tuple[str, bool]:
    """Return whose kernels decode on `device`, and whether they are gemma's own."""
    if device.type == "cpu":
        from gemma_cli.engines.local.native.build import library

        ours, news = native.on(device) is not None, native.notice(device)
        why = library().why or "the compiled kernels cannot be loaded"
        found = (
            "gemma's own kernels, compiled for this processor"
            if ours
            else f"torch's kernels, which decode more slowly: {why}"
        )
        return (f"{found}; {news}" if ours and news else found), ours
    why = availability.why_not(device)
    return (
        (f"torch's kernels, which decode more slowly: {why}", False)
        if why
        else (f"gemma's own kernels ({availability.version()})", True)
    )
