"""Products with weights, and the normalisation between them."""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local import native
from gemma_cli.engines.local.device import has_tiles
from gemma_cli.engines.local.kernel_table import Functions, few_rows
from gemma_cli.engines.local.native.ops import Scattered
from gemma_cli.engines.local.triton_kernels.tiles import FEW as FUSED_ROWS
from gemma_cli.engines.local.triton_kernels.tiles import Bits

PACK_FROM = 1 << 18
"""Elements from which oneDNN's packed float32 weights beat torch.mm for a few rows, two to four times for large ones,
because they are read in the order they lie; below, its overhead per call costs more than that. In bfloat16 torch goes
through oneDNN in any case."""


FEW = 16
"""Rows up to which our kernels are the fastest where torch has AMX; elsewhere they are for any number."""


class Linear:
    """y = x @ weight.T for weight [out, in]; no bias (Gemma 4's decoder has none).

    On a CPU that has kernels of ours they run it, or torch's for many rows in bfloat16 where those use AMX. A weight in
    bfloat16 is then used where it lies in its file; otherwise it is copied into the layout that the kernel reads.
    Quantized weights make subclasses: quantized.py. group: inputs that share a scale; integers: whether sums are of
    integers; one_row: whether a row alone gets the bits it gets among others.
    """

    group: ClassVar[int] = 1
    integers = False
    one_row = False
    packed = False
    _scattered: Scattered | None = None
    few: tuple[Bits, Tensor, Tensor | None] | None = None
    """Bits, weight and scale for kernel_table's functions of a few rows, where there are any."""

    def __init__(self, weight: Tensor) -> None:
        self.shape: tuple[int, int] = (weight.shape[0], weight.shape[1])
        self.nbytes = weight.nbytes  # what a product reads
        if few_rows(weight.device, weight.dtype):
            stored = weight.contiguous()
            self._kernels, self._weight, self.few = None, stored.t(), (16, stored, None)
            return
        self._kernels = native.on(weight.device) if weight.dtype in (torch.float32, torch.bfloat16) else None
        if self._kernels:
            if weight.dtype == torch.bfloat16:
                self._lies_in((weight,))
                return
            self.packed = self.one_row = True
            self._weight = self._kernels.pack_floats(weight)
            return
        large = weight.dtype != torch.float32 or weight.numel() >= PACK_FROM
        self.packed = weight.device.type == "cpu" and large and _can_pack(weight.dtype)
        if self.packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        else:
            self._weight = weight.t().contiguous() if weight.device.type == "cpu" else weight.t()

    @classmethod
    def of_rows(cls, parts: Sequence[Tensor]) -> Linear:
        """Build a linear layer whose weight is that of several, one below the other: [out of each, in].

        Nothing is copied. For bfloat16 on a CPU where `as_it_lies` holds.
        """
        linear = cls(parts[0])
        linear._lies_in(parts)
        return linear

    def _lies_in(self, parts: Sequence[Tensor]) -> None:
        self.one_row = True
        self._scattered = Scattered([part.contiguous() for part in parts])
        self.shape = (self._scattered.out, parts[0].shape[1])
        self.nbytes = sum(part.nbytes for part in parts)

    @staticmethod
    def as_it_lies(device: torch.device, dtype: torch.dtype) -> bool:
        """Whether such weights are used without a copy."""
        return device.type != "cpu" or (dtype == torch.bfloat16 and native.on(device) is not None)

    def __call__(self, x: Tensor) -> Tensor:
        if self._kernels:
            if self._scattered is None:
                return self._kernels.float_linear(x, self._weight, self.shape[0])
            if x.shape[0] > FEW and has_tiles():
                products = [F.linear(x, part) for part in self._scattered.parts]
                return torch.cat(products, 1) if len(products) > 1 else products[0]
            return self._kernels.linear(x, self._scattered)
        if self.few and (functions := for_few(x)):
            return functions.linear(x, *self.few)
        if self.packed:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, None, "none", [], "")
            return product
        return torch.mm(x, self._weight)

    @property
    def scattered(self) -> Scattered | None:
        """The weight in bfloat16 where it lies, for `kernels.linear`; None: it is another kind."""
        return self._scattered

    @property
    def panels(self) -> Tensor | None:
        """The weight in float32 as `kernels.float_linear` reads it; None: it is another kind."""
        return self._weight if self._kernels and self._scattered is None else None

    def alike(self, weight: Tensor) -> Linear:
        """Build the same kind of linear layer with another weight."""
        if self._scattered is None:
            return type(self)(weight)
        return Linear.of_rows(torch.split(weight, [part.shape[0] for part in self._scattered.parts]))


class Norm:
    """x / rms(x) * weight over the last dimension, in float32; `weight` None leaves out the scale."""

    def __init__(self, weight: Tensor | None, eps: float, device: torch.device) -> None:
        self.eps = eps
        self._stored = weight
        self.weight = None if weight is None else weight.float()
        self._eps = torch.tensor(eps, dtype=torch.float32, device=device)
        self._fused = device.type not in ("cpu", "mps")
        self._kernels = native.on(device)

    def __call__(self, x: Tensor) -> Tensor:
        if self._kernels:
            return self._kernels.norm(x, self.weight, self.eps)
        if self._fused and (self._stored is None or self._stored.dtype is x.dtype):
            return F.rms_norm(x, x.shape[-1:], self._stored, self.eps)
        wide = self.wide(x)
        return as_dtype(wide, x.dtype)

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + norm(x), rounded once."""
        if self._kernels:
            return self._kernels.norm(x, self.weight, self.eps, residual)
        if self._fused or self.weight is None:
            return residual + self(x)
        total = torch.addcmul(residual, self._scaled(x), self.weight)
        return as_dtype(total, residual.dtype)

    def wide(self, x: Tensor) -> Tensor:
        """Return the result before rounding: float32."""
        if self._kernels:
            return self._kernels.norm(x, self.weight, self.eps, dtype=torch.float32)
        if self._fused:
            return F.rms_norm(x.float(), x.shape[-1:], self.weight, self.eps)
        scaled = self._scaled(x)
        return scaled if self.weight is None else scaled.mul_(self.weight)

    def _scaled(self, x: Tensor) -> Tensor:
        """x / rms(x) in four small kernels: F.rms_norm is not fused on CPU and takes twice the time for a few rows."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return x * torch.addcmul(self._eps, length, length, value=1 / x.shape[-1]).rsqrt_()


class OneRowNorm(Norm):
    """Norm of a single row on a CPU, where reading its length as a number is no wait: scale, weight and residual then
    make one kernel. The bits are not those of a row among several: for drafters, whose steps mostly have one."""

    def __init__(self, weight: Tensor, eps: float, device: torch.device) -> None:
        super().__init__(weight, eps, device)
        self._wide = weight.float()

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > 1:
            return super().__call__(x)
        return as_dtype(torch.addcmul(_ZERO, x, self._wide, value=self._scale(x)), x.dtype)

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        if x.shape[0] > 1:
            return super().add(residual, x)
        return as_dtype(torch.addcmul(residual, x, self._wide, value=self._scale(x)), residual.dtype)

    def _scale(self, x: Tensor) -> float:
        length: float = torch.linalg.vector_norm(x, dtype=torch.float32).item()
        return 1 / sqrt(length * length / x.shape[-1] + self.eps)


_ZERO = torch.zeros(())


def for_few(x: Tensor) -> Functions | None:
    """Return the functions that compute linear layers of so few rows as x [rows, width] has; None: torch does."""
    return few_rows(x.device, x.dtype) if x.shape[0] <= FUSED_ROWS else None


def as_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x.to(dtype), which for nothing takes as long as a small kernel."""
    return x if x.dtype is dtype else x.to(dtype)


@functools.cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether torch's oneDNN operators for packed weights are there and compute in this format."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    one = torch.ones(32, 32, dtype=dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(one, None)
        product = torch.ops.mkldnn._linear_pointwise(one, packed, None, "none", [], "")
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((product == 32).all())
