"""The linear layers of a layer's experts in one tensor, off the CPU: the device chooses among them by index.

On a CPU each expert is a linear layer of its own, and the host groups rows by expert. A GPU would have to be waited for
to know the groups, in every layer. Here a few rows gather the weights of their experts instead.

Quantized weights are stored in the plain layouts of `rounding`, four bits two to a byte, or as kernels for few rows
read them, and widened when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast, overload

import torch
from torch import Tensor

from gemma_cli.engines.local.kernel_table import few_rows
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import Int4Linear
from gemma_cli.engines.local.model.layers.rounding import GROUP, eight_bits, four_bits, from_eight_bits
from gemma_cli.engines.local.triton_kernels import layout
from gemma_cli.engines.local.triton_kernels.stack import Stack
from gemma_cli.engines.local.triton_kernels.tiles import Bits


class ExpertStack(Sequence[Linear]):
    """Linear layers of one shape [out, in]. parts: tensors whose first dimension is the expert; widen: makes weights
    [n, out, in] of those parts of n experts."""

    def __init__(self, parts: tuple[Tensor, ...], widen: Callable[..., Tensor], shape: tuple[int, int]) -> None:
        self.parts, self.widen, self.shape = parts, widen, shape
        self._each = [_Expert(self, expert) for expert in range(len(parts[0]))]

    @property
    def stored(self) -> Stack:
        """The weights as the kernels for few rows read them."""
        weight, scale = self.parts[0], self.parts[-1]
        bits = {torch.int8: 8, torch.uint16: 4}.get(weight.dtype, 16)
        return Stack(cast("Bits", bits), self.shape[1], weight, scale)

    @classmethod
    def of_floats(cls, weights: Tensor) -> ExpertStack:
        """weights [count, out, in]."""
        return cls((weights,), _as_they_are, (weights.shape[1], weights.shape[2]))

    @classmethod
    def of_eight_bits(cls, numbers: Tensor, scale: Tensor, dtype: torch.dtype) -> ExpertStack:
        """numbers int8 [count, out, in]; scale float32 [count, out]."""
        return cls((numbers, scale), partial(from_eight_bits, dtype=dtype), (numbers.shape[1], numbers.shape[2]))

    @classmethod
    def of_four_bits(cls, packed: Tensor, scale: Tensor, dtype: torch.dtype) -> ExpertStack:
        """packed uint8 [count, out, in / 2], as `two_to_a_byte` gives it; scale [count, out, in / GROUP]."""
        if few_rows(packed.device, dtype):
            return cls._of_words(packed, scale, dtype)
        return cls((packed, scale.to(dtype)), _from_four_bits, (packed.shape[1], 2 * packed.shape[2]))

    @classmethod
    def _of_words(cls, packed: Tensor, scale: Tensor, dtype: torch.dtype) -> ExpertStack:
        """The same, in the layout that kernels for few rows read."""
        out, width = packed.shape[1], 2 * packed.shape[2]
        parts: list[Tensor] = []
        for index, one in enumerate(packed):
            numbers = torch.stack((one & 15, one >> 4), -1).view(out, width)
            pair = layout.pack([(numbers, scale[index])], (out, width), packed.device)
            parts = parts or [part.new_empty(len(packed), *part.shape) for part in pair]
            for whole, part in zip(parts, pair, strict=True):
                whole[index].copy_(part)
        return cls((parts[0], parts[1]), partial(_from_words, width=width, dtype=dtype), (out, width))

    @classmethod
    def rounded(cls, kind: type[Linear], weights: Iterable[Tensor], count: int, dtype: torch.dtype) -> ExpertStack:
        """Round `count` weights [out, in], one at a time, to the bits of `kind`: Int8Linear or Int4Linear."""
        four = kind is Int4Linear
        parts: list[Tensor] = []
        for index, weight in enumerate(weights):
            numbers, scale = four_bits(weight) if four else eight_bits(weight)
            one = (two_to_a_byte(numbers) if four else numbers, scale)
            parts = parts or [part.new_empty(count, *part.shape) for part in one]
            parts[0][index], parts[1][index] = one
        return (cls.of_four_bits if four else cls.of_eight_bits)(parts[0], parts[1], dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of all experts."""
        return sum(part.nbytes for part in self.parts)

    def __len__(self) -> int:
        return len(self._each)

    @overload
    def __getitem__(self, index: int) -> Linear: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Linear]: ...
    def __getitem__(self, index: int | slice) -> Linear | Sequence[Linear]:
        return self._each[index]

    def of(self, chosen: Tensor) -> Tensor:
        """Gather the weights [k, out, in] of the experts `chosen`, int64 [k]. The host learns nothing of them."""
        return self.widen(*(part.index_select(0, chosen) for part in self.parts))


class _Expert(Linear):
    """One linear layer of a stack, for many rows."""

    def __init__(self, stack: ExpertStack, index: int) -> None:
        self.shape = stack.shape
        self.nbytes = stack.nbytes // len(stack.parts[0])
        self._stack, self._index = stack, index

    def __call__(self, x: Tensor) -> Tensor:
        one = slice(self._index, self._index + 1)
        return torch.mm(x, self._stack.widen(*(part[one] for part in self._stack.parts))[0].t())


def two_to_a_byte(numbers: Tensor) -> Tensor:
    """Pack numbers 0 .. 15, uint8 [..., n], two to a byte, [..., n / 2]: the first of each pair in the lower half."""
    return numbers[..., 1::2] << 4 | numbers[..., ::2]


def _as_they_are(weights: Tensor) -> Tensor:
    return weights


def _from_words(words: Tensor, scales: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    return torch.stack([layout.unpack(*pair, width, dtype) for pair in zip(words, scales, strict=True)])


def _from_four_bits(packed: Tensor, scale: Tensor) -> Tensor:
    numbers = torch.stack((packed & 15, packed >> 4), -1).to(scale.dtype).sub_(8)
    return numbers.view(*scale.shape, GROUP).mul_(scale[..., None]).view(*packed.shape[:-1], -1)
