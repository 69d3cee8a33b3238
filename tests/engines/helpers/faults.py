"""Failures at a chosen point of the real engine's work: no memory for an operation, and Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch._dynamo  # a dispatch mode imports it at its first operation, and what is imported then keeps frames alive
from torch.utils._python_dispatch import TorchDispatchMode

UNRAISABLE = ("__del__", "_remove")
"""Functions whose exceptions Python prints and drops: finalizers, and the callbacks of weak references."""


def out_of_memory(kind: int) -> Exception:
    """What allocators raise: torch's on a CPU, on a GPU, and Python's own."""
    return (
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
    )[kind % 3]


class OutOfMemoryAt(TorchDispatchMode):
    """Makes operation number `at` of those that allocate memory for a tensor fail as out_of_memory(kind)."""

    def __init__(self, at: int, kind: int = 0) -> None:
        super().__init__()
        self.left, self.kind = at, kind

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        if all(one.alias_info is None for one in func._schema.returns):  # neither a view nor in place
            several = results if isinstance(results, (tuple, list)) else (results,)
            self.left -= any(isinstance(one, torch.Tensor) and one.nbytes > 0 for one in several)
            if self.left == 0:
                self.left = -1
                del results, several
                raise out_of_memory(self.kind)
        return results


@contextmanager
def interrupted_at(point: int) -> Iterator[None]:
    """Raise KeyboardInterrupt at the `point`-th call or return of any function: there Python looks for Ctrl-C."""
    left = point

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        left -= 1
        if left <= 0 and frame.f_code.co_name not in UNRAISABLE:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
