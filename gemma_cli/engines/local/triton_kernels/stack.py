"""The weights of every expert of a layer, as the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gemma_cli.engines.local.triton_kernels.tiles import Bits


@dataclass(frozen=True)
class Stack:
    """A weight of every expert, [experts, out, width].

    bits 16: weight bfloat16, scale unused; 8: weight int8, scale float32 [experts, out]; 4: weight and scale as
    layout.pack has them, for each expert.
    """

    bits: Bits
    width: int
    weight: Tensor
    scale: Tensor
