"""A pretended Apple GPU, "mps:0", that refuses what torch refuses there. Its numbers lie in main memory (pretended.py).

    with gpu(): ...

What is refused, and where the list comes from:

- float64 and complex128 tensors, made on it, moved to it or left by an operation: "the MPS framework doesn't support
  float64" (https://docs.pytorch.org/docs/stable/notes/mps.html).
- Operations without a kernel for MPS in native_functions.yaml, which comes with torch (torchgen/packaged). There is one
  if `MPS` is among the keys of the operation or of the structured one that it delegates to, or if it is composite. An
  implicit composite is taken apart, and its parts are looked up. An explicit one (`frexp`) counts unless its other
  forms (`frexp.Tensor_out`) have kernels for CPUs and none for MPS.

A few operations that torch sends back to the CPU with a warning (MPSFallback.mm) are refused with the rest. What a real
one computes differently in the last bit, or refuses for a shape or an older macOS, is not known here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torchgen

from tests.engines.helpers import pretended_devices

DEVICE = torch.device("mps", 0)
WIDE = (torch.float64, torch.complex128)
FUNCTIONS = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"


class Refused(AssertionError):
    """What an Apple GPU does not do."""


@contextmanager
def gpu() -> Iterator[None]:
    """Make "auto" an Apple GPU."""
    with pytest.MonkeyPatch.context() as patch, pretended_devices.devices(_check):
        patch.setattr(torch.backends.mps, "is_available", lambda: True)
        patch.setattr(torch.mps, "synchronize", lambda: None)
        yield


def _check(name: str, device: torch.device, tensors: list[torch.Tensor]) -> None:
    """Refuse operation `name` on `device` that takes or gives `tensors`."""
    if device.type != "mps":
        return
    if wide := [str(tensor.dtype) for tensor in tensors if tensor.dtype in WIDE]:
        raise Refused(f"{name}: {wide[0]} on an Apple GPU")
    if not has_kernel(name):
        raise Refused(f"{name} has no kernel for Apple GPUs")


def has_kernel(name: str) -> bool:
    """Whether torch has `name` ("aten::add.Tensor") on MPS. An operation that is not listed has none."""
    name = name.removeprefix("aten::")
    keys, delegate = _functions().get(name, (frozenset[str](), None))
    if delegate is not None:
        keys = keys | _functions()[delegate][0]
    if "MPS" in keys:
        return True
    family = _families()[name.partition(".")[0]] if keys else frozenset[str]()
    return any(key.startswith("Composite") for key in keys) and ("CPU" not in family or "MPS" in family)


@functools.cache
def _families() -> dict[str, frozenset[str]]:
    """Name without overload -> the keys of all its forms."""
    found: dict[str, frozenset[str]] = {}
    for name, (keys, _) in _functions().items():
        base = name.partition(".")[0]
        found[base] = found.get(base, frozenset()) | keys
    return found


@functools.cache
def _functions() -> dict[str, tuple[frozenset[str], str | None]]:
    """Operation -> the keys it has kernels for, and the structured operation it delegates to. Read line by line: a YAML
    parser takes seconds."""
    found: dict[str, tuple[frozenset[str], str | None]] = {}
    for entry in re.split(r"^- func: ", FUNCTIONS.read_text(), flags=re.MULTILINE)[1:]:
        name = entry.partition("(")[0]
        delegate = re.search(r"^  structured_delegate: (\S+)", entry, re.MULTILINE)
        dispatch = re.search(r"^  dispatch:\n((?:    .*\n| *#.*\n)+)", entry, re.MULTILINE)
        lines = dispatch[1].splitlines() if dispatch else []
        keys = {
            key.strip()
            for line in lines
            if not line.strip().startswith("#")
            for key in line.partition(":")[0].split(",")
        }
        if not dispatch and not delegate:
            keys = {"CompositeImplicitAutograd"}
        found[name] = frozenset(keys), delegate and delegate[1]
        autogen = re.search(r"^  autogen: (.+)", entry, re.MULTILINE)
        for made in autogen[1].split(",") if autogen else ():
            found[made.strip()] = frozenset({"CompositeExplicitAutograd"}), None
    return found
