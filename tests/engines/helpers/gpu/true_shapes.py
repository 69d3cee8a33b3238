"""Models of the released shapes on torch's meta device, whose tensors have shapes and no numbers.

    with gpu():
        target, drafter = built("26b-a4b", quantize="int4")

They take no memory, run what a GPU would run, and cannot give the host a number: torch itself raises where it asks for
one. (Fake tensors on "cuda" do not work in a build of torch without CUDA: indexing asks for the device.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from gemma_cli.core.engine import Quantization
from gemma_cli.engines.local.loading import build
from gemma_cli.engines.local.loading.build import build_drafter, build_target
from gemma_cli.engines.local.loading.synthetic import drafter_config, target_config
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.layers import quantized
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear, kinds_for, of_drafter
from gemma_cli.engines.local.model.layers.rounding import GROUP
from gemma_cli.engines.local.model.schema.architecture import read_architecture, read_drafter
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.triton_kernels import availability

GPU = torch.device("meta")


@contextmanager
def gpu(*, fused: bool = True) -> Iterator[None]:
    """Pretend a GPU on which torch's eight- and four-bit matmuls run, and where `fused` our own kernels too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(availability, "why_not", lambda device: "" if fused else "they are left out")
        patch.setattr(quantized, "int8_on_cuda", lambda: True)
        patch.setattr(quantized, "int4_runs", lambda device_type: True)
        patch.setattr(build, "check_order", lambda ids, vocab: None)
        patch.setattr(Int4Linear, "_through_bfloat16", _int4_product)
        patch.setitem(quantized.OUT_MULTIPLE, GPU.type, quantized.OUT_MULTIPLE["cuda"])
        with torch.inference_mode():
            yield


def built(
    name: str, quantize: Quantization | None = None, *, whole: bool = False, dtype: torch.dtype = torch.bfloat16
) -> tuple[Target, Drafter]:
    """A released target and its drafter, within `gpu`. whole: all layers; else one of each kind, or two where some read
    the keys of others."""
    values, config = target_config(name), drafter_config(name)
    if not whole:
        kinds = ["sliding_attention", "full_attention"]
        shared = len(kinds) if values.get("num_kv_shared_layers") else 0
        values |= {"layer_types": kinds * (2 if shared else 1), "num_hidden_layers": len(kinds) + shared}
        values |= {"num_kv_shared_layers": shared}
    target = build_target(read_architecture(values), Shapes(dtype, quantize), GPU, dtype)
    shape = read_drafter(config, read_architecture(config["text_config"]))
    return target, build_drafter(shape, Shapes(dtype, of_drafter(quantize)), target)


def _int4_product(linear: Int4Linear, x: Tensor) -> Tensor:
    """The kernel's result; its own function for meta tensors takes fake ones alone."""
    return x.new_empty(x.shape[0], linear.shape[0])


class Shapes:
    """A weights.Source of nothing but shapes."""

    def __init__(self, dtype: torch.dtype, quantize: Quantization | None) -> None:
        self.dtype, self._kind = dtype, kinds_for(quantize, GPU)

    def on(self, device: torch.device) -> Shapes:
        return self

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        if name.endswith("layer_scalar"):
            return torch.tensor([0.5])  # the one number that is read while a model is built
        return self._empty(*shape, dtype=dtype or self.dtype)

    def linear(self, name: str, shape: tuple[int, int]) -> Linear:
        kind, (out, width) = self._kind(shape), shape
        if kind is Int8Linear:
            return Int8Linear.of(self._empty(out, width, dtype=torch.int8), self._empty(out, dtype=torch.float32))
        if kind is Int4Linear:
            return Int4Linear.of(self._empty(out, width, dtype=torch.uint8), self._empty(out, width // GROUP))
        return Linear(self._empty(out, width))

    def fused(self, names: Sequence[str], shapes: Sequence[tuple[int, int]]) -> Linear:
        return self.linear(names[0], (sum(rows for rows, _ in shapes), shapes[0][1]))

    def linears(self, name: str, shape: tuple[int, int, int]) -> Sequence[Linear]:
        kind, (count, out, width) = self._kind(shape[1:]), shape
        if kind is Int8Linear:
            scale = self._empty(count, out, dtype=torch.float32)
            return ExpertStack.of_eight_bits(self._empty(*shape, dtype=torch.int8), scale, self.dtype)
        if kind is Int4Linear:
            packed = self._empty(count, out, width // 2, dtype=torch.uint8)
            return ExpertStack.of_four_bits(packed, self._empty(count, out, width // GROUP), self.dtype)
        return ExpertStack.of_floats(self._empty(*shape))

    def exact(self, name: str, shape: tuple[int, int]) -> Linear:
        return Linear(self._empty(*shape))

    def tied(self, name: str, table: Tensor) -> Linear:
        shape = (table.shape[0], table.shape[1])
        return Linear(table) if self._kind(shape) is Linear else self.linear(name, shape)

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        return self._empty(*shape)

    def _empty(self, *shape: int, dtype: torch.dtype | None = None, **more: Any) -> Tensor:
        return torch.empty(*shape, dtype=dtype or self.dtype, device=GPU, **more)
