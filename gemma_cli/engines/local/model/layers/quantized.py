"""Quantized linear layers, with weights in 8 or 4 bits. The device decides which kernel runs them:

         CPU, our kernels             CPU without them                          CUDA without Triton
int8     native/quantized_linear.c    oneDNN int8, activations in two halves    torch's int8 matmul
int4     native/quantized_linear.c    torch's int4 matmul in bfloat16           torch's int4 matmul in bfloat16

On CUDA with Triton its kernels multiply a few rows in bfloat16, and for many rows weights are widened (int8: torch's
matmul of integers).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import UsageError
from gemma_cli.engines.local import native
from gemma_cli.engines.local.kernel_table import few_rows
from gemma_cli.engines.local.model.layers.integer_matmul import (
    TILE,
    int8_on_cuda,
    integer_halves,
    widened,
    widened_words,
)
from gemma_cli.engines.local.model.layers.linear import Linear, for_few
from gemma_cli.engines.local.model.layers.rounding import GROUP, eight_bits, four_bits, from_four_bits, slices
from gemma_cli.engines.local.model.layers.torch_int8 import (
    LinearFunction,
    in_halves,
    integer_products,
    packed_int8,
)
from gemma_cli.engines.local.triton_kernels import layout

if TYPE_CHECKING:
    from typing import Self

    from gemma_cli.engines.local.native.ops import Bits, Kernels

Parts = Iterable[tuple[Tensor, Tensor]]
"""Numbers and scales of some rows of a weight at a time, as Kernels.pack takes them."""

PACKED_ROWS = 1 << 11
"""Rows of a four-bit weight that are brought into the layout of Triton's kernels at a time."""

OUT_MULTIPLE = {"cpu": 16, "cuda": 8}
"""Multiple of output rows that torch's int4 kernels require; ours have no such limit."""


def kinds_for(quantize: Quantization | None, device: torch.device) -> Callable[[tuple[int, int]], type[Linear]]:
    """The kind of product that a weight of a shape [out, in] gets. UsageError: this device cannot run it.

    A shape that the four-bit kernels do not take, as in models much smaller than the released ones, gets eight bits.
    """
    if quantize is None:
        return lambda _: Linear
    if device.type not in OUT_MULTIPLE:
        raise UsageError(f"--quantize works only on cpu and cuda, not on {device.type}: leave out --quantize")
    if device.type == "cpu" and not native.on(device):
        integer_products()  # oneDNN reads the cap that this may set only before the first matmul of the process
    if quantize == "int8":
        return lambda _: Int8Linear
    if not int4_runs(device.type):
        raise UsageError(
            f"--quantize int4 does not run on this {device.type} device: use --quantize int8, or leave out --quantize"
        )
    return lambda shape: Int4Linear if Int4Linear.takes(shape, device.type) else Int8Linear


def of_drafter(quantize: Quantization | None) -> Quantization | None:
    """Return the quantization of a drafter next to such a target: never less than 8 bits. It is small, and a wrong
    guess costs more than it saves."""
    return "int8" if quantize else None


class RoundedLinear(Linear):
    """y = x @ weight.T with weights in fewer bits.

    bits: of each number. stored: for kernels of ours, the weight as they read it, uint8 [bytes], and its scales,
    float32 [out] for eight bits, empty for four.
    """

    bits: ClassVar[Bits]
    one_row = True
    stored: tuple[Tensor, Tensor] | None = None
    _product: LinearFunction

    def __init__(self, weight: Tensor) -> None:
        if kernels := native.on(weight.device):
            floats = weight if weight.dtype in (torch.float32, torch.bfloat16) else weight.float()
            self._settle_in(kernels, (weight.shape[0], weight.shape[1]), *kernels.round_and_pack(floats, self.bits))
        else:
            self._keep(*self._round(weight))

    @classmethod
    def of(cls, numbers: Tensor, scale: Tensor) -> Self:
        """From the numbers and scales of a weight, as `rounding` has them."""
        linear = cls.__new__(cls)
        linear._keep(numbers, scale)
        return linear

    @classmethod
    def of_parts(cls, kernels: Kernels, shape: tuple[int, int], parts: Parts) -> Self:
        """From numbers and scales of some rows at a time, for kernels of ours."""
        linear = cls.__new__(cls)
        linear._pack(kernels, shape, parts)
        return linear

    @classmethod
    def of_stored(cls, kernels: Kernels, shape: tuple[int, int], packed: Tensor, scales: Tensor) -> Self:
        """From what `stored` of the same layer returned."""
        linear = cls.__new__(cls)
        linear._settle_in(kernels, shape, packed, scales)
        return linear

    def __call__(self, x: Tensor) -> Tensor:
        return self._product(x)

    def _pack(self, kernels: Kernels, shape: tuple[int, int], parts: Parts) -> None:
        scales = torch.empty(shape[0] if self.bits == 8 else 0)  # those of four bits are packed with the numbers
        packed = kernels.pack(_noted(parts, scales) if self.bits == 8 else parts, shape, self.bits)
        self._settle_in(kernels, shape, packed, scales)

    def _settle_in(self, kernels: Kernels, shape: tuple[int, int], packed: Tensor, scales: Tensor) -> None:
        self.shape, self.integers, bits = shape, True, self.bits
        self.stored, self.nbytes = (packed, scales), packed.nbytes + scales.nbytes
        self._product = lambda x: kernels.rounded_linear(x, packed, scales, shape[0], bits)

    def _round(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _keep(self, numbers: Tensor, scale: Tensor) -> None:
        raise NotImplementedError


class Int8Linear(RoundedLinear):
    """Weights of eight bits, numbers int8 [out, in], with one scale for each output, float32 [out]."""

    bits = 8

    def _round(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return eight_bits(weight)

    def _keep(self, numbers: Tensor, scale: Tensor) -> None:
        shape = (numbers.shape[0], numbers.shape[1])
        if kernels := native.on(numbers.device):
            self._pack(kernels, shape, [(numbers, scale)])
            return
        self.shape, self.nbytes = shape, numbers.nbytes + scale.nbytes
        if few_rows(numbers.device):
            self._for_few(numbers, scale)
            return
        self.integers = numbers.device.type == "cpu" and integer_products()
        if numbers.device.type == "cpu":
            self._product = (in_halves if self.integers else packed_int8)(numbers, scale)
            return
        self.integers = all(size % TILE == 0 for size in shape) and int8_on_cuda()
        self._product = integer_halves(numbers, scale) if self.integers else widened(numbers, scale)

    def _for_few(self, numbers: Tensor, scale: Tensor) -> None:
        in_integers = all(size % TILE == 0 for size in self.shape) and int8_on_cuda()
        many = integer_halves(numbers, scale) if in_integers else widened(numbers, scale)

        def product(x: Tensor) -> Tensor:
            functions = for_few(x)
            return functions.linear(x, 8, numbers, scale) if functions else many(x)

        self._product, self.few = product, (8, numbers, scale)


class Int4Linear(RoundedLinear):
    """Weights of four bits, numbers uint8 0 .. 15 [out, in], each (number - 8) * scale, with one scale for each group
    of inputs, [out, in / group]. Torch's kernels compute in bfloat16."""

    bits = 4
    group = GROUP

    def _round(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return four_bits(weight)

    @staticmethod
    def takes(shape: tuple[int, int], device_type: str) -> bool:
        """Return whether the kernel runs a weight [out, in] of this shape."""
        multiple = 1 if native.on(torch.device(device_type)) else OUT_MULTIPLE[device_type]
        return shape[0] % multiple == 0 and shape[1] % GROUP == 0

    def _keep(self, numbers: Tensor, scale: Tensor) -> None:
        if kernels := native.on(numbers.device):
            each = scale.to(torch.bfloat16).repeat_interleave(numbers.shape[1] // scale.shape[1] // GROUP, 1)
            self._pack(kernels, (numbers.shape[0], numbers.shape[1]), [(numbers, each)])
            return
        if few_rows(numbers.device):
            self._for_few(numbers, scale)
            return
        self._settle(_pack4(numbers), scale.to(torch.bfloat16), numbers.shape[1])

    def _settle(self, packed: Tensor, scale: Tensor, width: int) -> None:
        """packed: as the kernel wants it; scale bfloat16 [out, in / group]."""
        self.shape = (scale.shape[0], width)
        self.nbytes = packed.nbytes + 2 * scale.nbytes
        self._group = width // scale.shape[1]
        self._packed = packed
        # The kernel adds a zero point to each group, which Q4_0 does not have.
        self._scales = torch.stack((scale, torch.zeros_like(scale)), -1).transpose(0, 1).contiguous()
        on_cpu = packed.device.type == "cpu"
        self._mm = torch.ops.aten._weight_int4pack_mm_for_cpu if on_cpu else torch.ops.aten._weight_int4pack_mm
        self._product = self._through_bfloat16

    def _for_few(self, numbers: Tensor, scale: Tensor) -> None:
        """In the layout of the kernels for few rows; many rows widen it."""
        out, width = numbers.shape
        each = scale.to(torch.bfloat16).repeat_interleave(width // scale.shape[1] // GROUP, 1)
        some = [slice(first, first + PACKED_ROWS) for first in range(0, out, PACKED_ROWS)]
        words, scales = layout.pack(((numbers[rows], each[rows]) for rows in some), (out, width), numbers.device)
        self.shape, self.nbytes = (out, width), words.nbytes + scales.nbytes
        many = widened_words(words, scales, width)

        def product(x: Tensor) -> Tensor:
            functions = for_few(few := x.to(torch.bfloat16))
            return functions.linear(few, 4, words, scales).to(x.dtype) if functions else many(x)

        self._product, self.few = product, (4, words, scales)

    @classmethod
    def of_packed(cls, packed: Tensor, scale: Tensor, width: int) -> Int4Linear:
        """From bytes already in the kernel's order: uint8 [out, in / 2] on a CPU."""
        linear = cls.__new__(cls)
        linear._settle(packed, scale, width)
        return linear

    def _through_bfloat16(self, x: Tensor) -> Tensor:
        product: Tensor = self._mm(x.to(torch.bfloat16).contiguous(), self._packed, self._group, self._scales)
        return product.to(x.dtype)


def four_bit_linear(numbers: Tensor, scale: Tensor, dtype: torch.dtype) -> Linear:
    """A checkpoint's own four-bit weights, as they are; widened to `dtype` where the device has no kernel for them."""
    kind, (out, width) = numbers.device.type, numbers.shape
    if kind in OUT_MULTIPLE and Int4Linear.takes((out, width), kind) and int4_runs(kind):
        return Int4Linear.of(numbers, scale)
    return Linear(from_four_bits(numbers, scale, dtype))


def _noted(parts: Parts, scales: Tensor) -> Parts:
    """The same parts; their scales are copied to `scales` on the way."""
    first = 0
    for numbers, scale in parts:
        scales[first : first + len(scale)] = scale
        first += len(scale)
        yield numbers, scale


def _pack4(numbers: Tensor) -> Tensor:
    """Return the weight in the order that torch's int4 kernel of the device reads."""
    if numbers.device.type != "cpu":
        tiles = next(tiles for tiles in (8, 4, 2) if numbers.shape[1] % (16 * tiles) == 0)
        pairs = numbers[:, ::2] << 4 | numbers[:, 1::2]
        packed: Tensor = torch.ops.aten._convert_weight_to_int4pack(pairs.contiguous(), tiles)
        return packed
    packed = torch.empty(numbers.shape[0], numbers.shape[1] // 2, dtype=torch.uint8)
    for part in slices(*numbers.shape):
        packed[part] = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers[part].int(), 1)
    return packed


@functools.cache
def int4_runs(device_type: str) -> bool:
    """Return whether torch's int4 matmul runs on this kind of device (on CUDA: compute capability 8.0)."""
    device = torch.device(device_type)
    numbers = torch.full((64, 64), 9, dtype=torch.uint8, device=device)
    try:
        product = Int4Linear.of(numbers, torch.ones(64, 2, device=device))(torch.ones(2, 64, device=device))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((product == 64).all())
