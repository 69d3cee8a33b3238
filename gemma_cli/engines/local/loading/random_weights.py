"""Weights that are random numbers, made about as fast as memory can be written.

A million normal numbers are drawn once; every weight is a window of them, or the window repeated: a prime number, so
that no two rows of a weight are alike. Weights of one shape are equal, which no kernel notices.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from gemma_cli.core.engine import Quantization
from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading.checkpoint import Shape
from gemma_cli.engines.local.model.linear import Linear
from gemma_cli.engines.local.model.quantized import Int4Linear, Int8Linear, integer_products, kinds_for
from gemma_cli.engines.local.model.rounding import GROUP

BLOCK = 1_000_003

DEVIATIONS = 4
"""Standard deviations that eight-bit numbers reach."""

SPREAD = 4.6
"""Standard deviation of the numbers -8 .. 7."""

LARGE = 1 << 28
"""Elements from which a weight is not kept for the next of its shape: only the head and the tables are as large."""


class RandomWeights:
    """A weights.Source: matrices of unit gain, norms and scales of one; tables and heads a fiftieth."""

    def __init__(
        self, device: torch.device, dtype: torch.dtype, quantize: Quantization | None = None, seed: int = 0
    ) -> None:
        self.device, self.dtype = device, dtype
        self._kind = kinds_for(quantize, device)
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(BLOCK, generator=generator)
        self._normal = normal.to(device)
        self._eight = normal.mul(127 / DEVIATIONS).round_().clamp_(-127, 127).to(device, torch.int8)
        self._bytes = torch.randint(0, 256, (BLOCK,), dtype=torch.uint8, generator=generator).to(device)
        self._kept: dict[object, Tensor] = {}

    def on(self, device: torch.device) -> RandomWeights:
        if device == self.device:
            return self
        other = copy.copy(self)
        other.device, other._kept = device, {}
        other._normal, other._eight, other._bytes = (
            numbers.to(device) for numbers in (self._normal, self._eight, self._bytes)
        )
        return other

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        dtype = dtype or self.dtype
        if not dtype.is_floating_point:
            return torch.arange(shape[0], device=self.device, dtype=dtype)
        if len(shape) == 1:
            return torch.ones(*shape, device=self.device, dtype=dtype)
        return _repeated((self._normal * _gain(name, shape[-1])).to(dtype), shape)

    def linear(self, name: str, shape: Shape) -> Linear:
        """Quantized ones are made of random numbers as they are kept, not rounded from others."""
        kind, gain = self._kind(shape), _gain(name, shape[1])
        on_cpu = self.device.type == "cpu"
        if kind is Int4Linear:
            scale = torch.full((shape[0], shape[1] // GROUP), gain / SPREAD, device=self.device)
            if on_cpu and not native.on(self.device):  # any bytes are weights
                packed = _repeated(self._bytes, (shape[0], shape[1] // 2))
                return Int4Linear.of_packed(packed, scale.to(torch.bfloat16), shape[1])
            return Int4Linear.of(self._matrix(self._bytes & 15, shape, on_cpu), scale)
        if kind is Int8Linear:
            scale = torch.full(shape[:1], gain * DEVIATIONS / 127, device=self.device)
            copied = on_cpu and bool(native.on(self.device) or integer_products())
            return Int8Linear.of(self._matrix(self._eight, shape, copied), scale)
        copied = on_cpu and not Linear.as_it_lies(self.device, self.dtype)
        return Linear(self._matrix((self._normal * gain).to(self.dtype), shape, copied))

    def fused(self, names: Sequence[str], shapes: Sequence[Shape]) -> Linear:
        return self.linear(names[0], (sum(rows for rows, _ in shapes), shapes[0][1]))

    def linears(self, name: str, shape: tuple[int, int, int]) -> list[Linear]:
        return [self.linear(name, shape[1:]) for _ in range(shape[0])]

    def exact(self, name: str, shape: Shape) -> Linear:
        return Linear(self.take(name, shape))

    def tied(self, name: str, table: Tensor) -> Linear:
        shape = (table.shape[0], table.shape[1])
        shared = self._kind(shape) is Linear and Linear.as_it_lies(self.device, self.dtype)
        return Linear(table) if shared else self.linear(name, shape)

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        """Of the largest, per-layer embeddings, a CPU reads rows in the file only: here, windows of one long row."""
        if self.device.type != "cpu" or "per_layer" not in name:
            return self.take(name, shape)
        rows, width = shape
        long = _repeated((self._normal * _gain(name, width)).to(self.dtype), (rows + width,))
        return long.as_strided((rows, width), (1, 1))

    def _matrix(self, block: Tensor, shape: Shape, copied: bool) -> Tensor:
        """copied: the product keeps a copy of its own, so the next of this shape may be made of the same."""
        if not copied or shape[0] * shape[1] >= LARGE:
            return _repeated(block, shape)
        key = (shape, block.dtype)
        if key not in self._kept:
            self._kept[key] = _repeated(block, shape)
        return self._kept[key]


def _gain(name: str, width: int) -> float:
    """Standard deviation of a weight."""
    return 0.02 if "embed_tokens" in name else width**-0.5


def _repeated(block: Tensor, shape: Sequence[int]) -> Tensor:
    filled = torch.empty(*shape, dtype=block.dtype, device=block.device)
    for part in torch.split(filled.view(-1), len(block)):
        part.copy_(block[: len(part)])
    return filled
