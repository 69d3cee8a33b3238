"""Modes that look at every operation as it reaches torch's kernels: one refuses what a CUDA graph cannot hold, one
measures memory and counts kernels.

    with refusing(): ...            raises Waits where the host would wait for the device
    with Footprint() as used: ...   used.peak, used.kernels

Composite operations are taken apart first: in inference mode torch hands over `item` and `repeat_interleave` as they
are, and what they are made of would not be seen.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gemma_cli.engines.local.triton_kernels.ops import LAUNCHES

WAITS = {
    *("_local_scalar_dense", "item", "is_nonzero", "nonzero", "bincount", "masked_select", "equal"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
    *("lift", "lift_fresh"),
}
"""Operations whose result, or whose shape, is a number that the host has to know; and tensors made of its numbers."""

METHODS = ("tolist", "numpy", "cpu", "__array__")
"""Methods of tensors that copy to the host without an operation of that name."""


class Waits(AssertionError):
    """The host would wait for the device, or copy to it."""


class _Refusing(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in WAITS or func is torch.ops.aten.tensor_split.tensor_indices_or_sections:
            raise Waits(f"{func} waits for the device")
        if name in ("index", "index_put", "index_put_", "_index_put_impl_") and _by_mask(args[1]):
            raise Waits(f"{func} takes a mask: its shape waits for the device")
        if func is torch.ops.aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            raise Waits(f"{func} waits for the device")
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()}
        if len(devices) > 1 or (name == "_to_copy" and "device" in kwargs and kwargs["device"].type not in devices):
            raise Waits(f"{func} moves numbers between devices")
        if _is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        return func(*args, **kwargs)


@contextmanager
def refusing() -> Iterator[None]:
    """Refuse what a CUDA graph cannot hold: asking the device for a number, and shapes that depend on one."""

    def refuse(*_: object, **__: object) -> None:
        raise Waits("a tensor is copied to the host")

    with pytest.MonkeyPatch.context() as patch:
        for method in METHODS:
            patch.setattr(Tensor, method, refuse)
        with _Refusing():
            yield


class Footprint(TorchDispatchMode):
    """kernels: operations but views; peak: the most bytes of tensors made in this context that lived at once."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.peak = self._now = 0
        self._storages: dict[int, list[int]] = {}  # how many tensors lie in one, and its bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if func.namespace == "gemma":
            self.kernels += LAUNCHES.get(func.overloadpacket.__name__, 1)
        else:
            self.kernels += not func.is_view and bool(made)
        for tensor in made:
            self._hold(tensor, given)
        self.peak = max(self.peak, self._now)
        return result

    def _hold(self, tensor: Tensor, given: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._storages:
            if key in given:  # made before
                return
            self._storages[key] = [0, storage.nbytes()]
            self._now += storage.nbytes()
        self._storages[key][0] += 1
        weakref.finalize(tensor, self._release, key)

    def _release(self, key: int) -> None:
        held = self._storages[key]
        held[0] -= 1
        if not held[0]:
            self._now -= held[1]
            del self._storages[key]


def _by_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


@functools.cache
def _is_composite(func: Any) -> bool:
    found: bool = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return found
