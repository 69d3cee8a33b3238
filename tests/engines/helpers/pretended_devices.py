"""Pretended devices, "meta:0", "meta:1" ...: their numbers lie in main memory, and an operation that mixes two of them
raises Mixed, as it would on GPUs. Torch's own meta device has no numbers, so nothing could be compared, and lets some
mixtures pass. apple.py pretends a device that can do less.

    with devices(): ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")
MPS, MPS_BELOW = torch.device("mps", 0), torch.device("meta", 7)
"""What Python sees, and what is below it: torch without a driver for Apple GPUs does not index tensors on the first."""

MOVES = ("aten::copy_", "aten::_to_copy")

Check = Callable[[str, torch.device, list[torch.Tensor]], None]
"""(operation with its overload, device, what it takes and gives)"""

_checks: list[Check] = []


class Mixed(AssertionError):
    """Tensors of two devices in one operation."""


class Elsewhere(torch.Tensor):
    """A tensor on a pretended device; `held` has its numbers."""

    held: torch.Tensor
    shown: torch.device

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device) -> Elsewhere:
        self: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=MPS_BELOW if device.type == "mps" else device,
        )
        self.held, self.shown = held, device
        return self

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.shown

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def devices(check: Check | None = None) -> Iterator[None]:
    """Where tensors can be made on pretended devices, and moved there and back. check: raises what a device refuses."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) shows its move
    _checks[:] = [check] if check else []
    try:
        with _Mode(), torch.inference_mode():
            yield
    finally:
        _checks.clear()
        torch._C._set_only_lift_cpu_tensors(before)


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    if _is_composite(func):
        with _Mode():
            args, kwargs = [_indexed(value) for value in args], {key: _indexed(kwargs[key]) for key in kwargs}
            return func.decompose(*args, **kwargs)
    name = func._schema.name
    if name == "aten::_fused_sdp_choice":
        return 0  # written out: which fused kernel there is depends on the device
    tensors: list[torch.Tensor] = []
    held = _held(args, tensors)
    named = {key: _held(value, tensors) for key, value in kwargs.items()}
    device = CPU
    for tensor in tensors:
        if tensor.dim() or tensor.device != CPU:
            if device not in (CPU, tensor.device) and name not in MOVES:
                raise Mixed(f"{name} mixes {device} and {tensor.device}")
            device = tensor.device
    if any(tensor.dim() and tensor.device != device for tensor in tensors) and name not in MOVES:
        raise Mixed(f"{name} mixes {device} and the CPU")
    if name in MOVES:
        device = tensors[0].device
    if named.get("device") is not None:
        device, named["device"] = _indexed(named["device"]), CPU
    result = func(*held, **named)
    if device == CPU:
        return result
    for check in _checks:
        given: list[torch.Tensor] = []
        _held(result, given)
        check(func.name(), device, tensors + given)
    return _on(device, result, tensors)


def _indexed(value: Any) -> Any:
    """A device as tensors show it."""
    return MPS if isinstance(value, torch.device) and (value.type == "mps" or value == MPS_BELOW) else value


@functools.cache
def _is_composite(func: Any) -> bool:
    found: bool = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return found


def _held(value: Any, tensors: list[torch.Tensor]) -> Any:
    """`value` with numbers in main memory for tensors; all its tensors are added to `tensors`."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return value.held if isinstance(value, Elsewhere) else value
    return [_held(one, tensors) for one in value] if isinstance(value, (list, tuple)) else value


def _on(device: torch.device, result: Any, given: list[torch.Tensor]) -> Any:
    """`result` as on `device`; what an operation changed in place is what was given to it."""
    if isinstance(result, torch.Tensor):
        for tensor in given:
            if isinstance(tensor, Elsewhere) and tensor.held is result:
                return tensor
        with torch.inference_mode(result.is_inference()):  # a view of a normal tensor is one, in either mode
            return Elsewhere(result, device)
    return [_on(device, one, given) for one in result] if isinstance(result, (list, tuple)) else result
