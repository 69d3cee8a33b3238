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
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear, Parts, kinds_for
from gemma_cli.engines.local.model.layers.rounding import GROUP, slices

BLOCK = 1_000_003

DEVIATIONS = 4
"""Standard deviations that eight-bit numbers reach."""

SPREAD = 4.6
"""Standard deviation of the numbers -8 .. 7."""


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
        self._four = self._bytes & 15

    def on(self, device: torch.device) -> RandomWeights:
        if device == self.device:
            return self
        other = copy.copy(self)
        other.device = device
        other._normal, other._eight, other._bytes, other._four = (
            numbers.to(device) for numbers in (self._normal, self._eight, self._bytes, self._four)
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
        """Quantized weights are made of random numbers directly, not rounded from others."""
        kind, gain = self._kind(shape), _gain(name, shape[1])
        kernels = native.on(self.device)
        if kind is Int4Linear:
            if kernels:
                return Int4Linear.of_parts(kernels, shape, self._parts(self._four, shape, gain / SPREAD, GROUP))
            scale = torch.full((shape[0], shape[1] // GROUP), gain / SPREAD, device=self.device)
            if self.device.type == "cpu":  # any bytes are weights
                packed = _repeated(self._bytes, (shape[0], shape[1] // 2))
                return Int4Linear.of_packed(packed, scale.to(torch.bfloat16), shape[1])
            return Int4Linear.of(_repeated(self._four, shape), scale)
        if kind is Int8Linear:
            if kernels:
                return Int8Linear.of_parts(kernels, shape, self._parts(self._eight, shape, gain * DEVIATIONS / 127))
            scale = torch.full(shape[:1], gain * DEVIATIONS / 127, device=self.device)
            return Int8Linear.of(_repeated(self._eight, shape), scale)
        return Linear(_repeated((self._normal * gain).to(self.dtype), shape))

    def fused(self, names: Sequence[str], shapes: Sequence[Shape]) -> Linear:
        return self.linear(names[0], (sum(rows for rows, _ in shapes), shapes[0][1]))

    def linears(self, name: str, shape: tuple[int, int, int]) -> Sequence[Linear]:
        if self.device.type == "cpu":
            return [self.linear(name, shape[1:]) for _ in range(shape[0])]
        (count, out, width), kind, gain = shape, self._kind(shape[1:]), _gain(name, shape[2])
        if kind is Int4Linear:
            scale = torch.full((count, out, width // GROUP), gain / SPREAD, device=self.device)
            return ExpertStack.of_four_bits(_repeated(self._bytes, (count, out, width // 2)), scale, self.dtype)
        if kind is Int8Linear:
            scale = torch.full((count, out), gain * DEVIATIONS / 127, device=self.device)
            return ExpertStack.of_eight_bits(_repeated(self._eight, shape), scale, self.dtype)
        return ExpertStack.of_floats(_repeated((self._normal * gain).to(self.dtype), shape))

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

    def _parts(self, block: Tensor, shape: Shape, scale: float, group: int | None = None) -> Parts:
        """`block` repeated to this shape, and as many scales as go with it, some rows at a time. group: inputs that
        share one; None: all."""
        rows, width = shape
        parts = list(slices(rows, width))
        long = _repeated(block, (len(block) + parts[0].stop * width,))
        for part in parts:
            count, first = part.stop - part.start, part.start * width % len(block)
            scales = torch.full((count, width // group) if group else (count,), scale)
            numbers = long[first : first + count * width].view(count, width)
            yield numbers, scales.to(torch.bfloat16) if group else scales


def _gain(name: str, width: int) -> float:
    """Standard deviation of a weight."""
    return 0.02 if "embed_tokens" in name else width**-0.5


def _repeated(block: Tensor, shape: Sequence[int]) -> Tensor:
    filled = torch.empty(*shape, dtype=block.dtype, device=block.device)
    for part in torch.split(filled.view(-1), len(block)):
        part.copy_(block[: len(part)])
    return filled
