"""The kernels as operators of torch, `torch.ops.gemma.*`.

Torch knows the shapes of their results, so rounds also run on tensors without numbers (torch's meta device): tests
count their launches there and prove that nothing waits. Importing this module does not import Triton.

    functions                   the operators as functions of tensors, one namespace
    launch_on(device, ...)      who computes them on a device; by default a CUDA device's `kernels.Kernels`

A kernel that cannot be compiled or launched raises KernelFailure, unless memory ran out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from gemma_cli.engines.local.device import is_out_of_memory
from gemma_cli.engines.local.triton_kernels.stack import Stack
from gemma_cli.engines.local.triton_kernels.tiles import Bits, Card


class KernelFailure(Exception):
    """A kernel could not be compiled or launched."""


class Functions(Protocol):
    """The functions that a decoding pass of a few rows is made of; kernels.py documents each.

    Triton's implementation is kernels.Kernels, torch's reference.Reference.
    """

    def linear(self, x: Tensor, bits: Bits, weight: Tensor, scale: Tensor | None) -> Tensor: ...
    def gated_linear(
        self, x: Tensor, bits: Bits, weight: Tensor, scale: Tensor | None, up: Tensor | None
    ) -> Tensor: ...
    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor: ...
    def add_norm(
        self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float, following: Tensor
    ) -> tuple[Tensor, Tensor]: ...
    def add_norms(
        self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, following: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...
    def add_experts(
        self,
        parts: Tensor,
        choice: Tensor,
        dense: Tensor,
        weights: Sequence[Tensor],
        residual: Tensor,
        eps: float,
        scalar: float,
    ) -> tuple[Tensor, Tensor]: ...
    def add(self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float) -> Tensor: ...
    def rotation(self, position: Tensor, frequencies: Tensor, factor: float, rows: int) -> tuple[Tensor, Tensor]: ...
    def turn(
        self,
        product: Tensor,
        scale: Tensor,
        cos: Tensor,
        sin: Tensor,
        position: Tensor,
        keys: Tensor,
        values: Tensor,
        heads: int,
        eps: float,
    ) -> Tensor: ...
    def attend(self, query: Tensor, keys: Tensor, values: Tensor, position: Tensor, window: int) -> Tensor: ...
    def soft_cap(self, x: Tensor, cap: float) -> Tensor: ...
    def experts(
        self, x: Tensor, logits: Tensor, per_expert: Tensor, real: Tensor, per_row: int, up: Stack, down: Stack
    ) -> tuple[Tensor, Tensor]: ...
    def choose(
        self,
        logits: Tensor,
        position: Tensor,
        ids: Tensor | None,
        top: int,
        seed: Tensor,
        temperature: Tensor,
        top_p: Tensor | None,
        least: Tensor | None,
    ) -> Tensor: ...


_SCHEMAS = """
linear(Tensor x, int bits, Tensor weight, Tensor? scale) -> Tensor
gated_linear(Tensor x, int bits, Tensor weight, Tensor? scale, Tensor? up) -> Tensor
norm(Tensor x, Tensor weight, float eps) -> Tensor
add_norm(Tensor residual, Tensor x, Tensor weight, float eps, float scalar, Tensor following) -> (Tensor, Tensor)
add_norms(Tensor residual, Tensor x, Tensor weight, float eps, Tensor[] following) -> (Tensor, Tensor, Tensor, Tensor)
add_experts(Tensor parts, Tensor choice, Tensor dense, Tensor[] weights, Tensor residual, float eps, float scalar) \
-> (Tensor, Tensor)
add(Tensor residual, Tensor x, Tensor weight, float eps, float scalar) -> Tensor
rotation(Tensor position, Tensor frequencies, float factor, int rows) -> (Tensor, Tensor)
turn(Tensor product, Tensor scale, Tensor cos, Tensor sin, Tensor position, Tensor(a!) keys, Tensor(b!) values, \
int heads, float eps) -> Tensor
attend(Tensor query, Tensor keys, Tensor values, Tensor position, int window) -> Tensor
soft_cap(Tensor x, float cap) -> Tensor
experts(Tensor x, Tensor logits, Tensor per_expert, Tensor real, int per_row, int[] bits, int[] widths, \
Tensor[] weights, Tensor[] scales) -> (Tensor, Tensor)
choose(Tensor logits, Tensor position, Tensor? ids, int top, Tensor seed, Tensor temperature, Tensor? top_p, \
Tensor? least) -> Tensor
"""

LAUNCHES = {"attend": 2, "experts": 3, "choose": 3}
"""Kernels of each operator where they are more than one; of `choose` at most."""

_launchers: dict[torch.device, Functions] = {}


def launch_on(device: torch.device, functions: Functions) -> None:
    """Let `functions` compute the operators for tensors on `device`."""
    _launchers[device] = functions


def launcher(device: torch.device) -> Functions:
    """Return who computes the operators on `device`; makes the Triton kernels of a CUDA device when first asked."""
    found = _launchers.get(device)
    if found is None:
        from gemma_cli.engines.local.triton_kernels.kernels import Kernels

        properties = torch.cuda.get_device_properties(device)
        card = Card((properties.major, properties.minor), properties.multi_processor_count)
        found = _launchers[device] = Kernels(device, card)
    return found


def _launching(name: str) -> Callable[..., Any]:
    def launch(*arguments: Any) -> Any:
        device = arguments[0].device
        try:
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                function = getattr(launcher(device), name)
                return function(*(_stacked(*arguments) if name == "experts" else arguments))
        except Exception as error:  # Triton, its compiler and the driver fail in ways of their own
            if is_out_of_memory(error):
                raise
            first = str(error).strip().partition("\n")[0]
            raise KernelFailure(f"the Triton kernel {name} failed: {type(error).__name__}: {first}") from error

    return launch


def _stacked(
    x: Tensor,
    logits: Tensor,
    per_expert: Tensor,
    real: Tensor,
    per_row: int,
    bits: list[Any],
    widths: list[int],
    weights: list[Tensor],
    scales: list[Tensor],
) -> tuple[Any, ...]:
    up, down = (Stack(*parts) for parts in zip(bits, widths, weights, scales, strict=True))
    return x, logits, per_expert, real, per_row, up, down


def _shapes(name: str) -> Callable[..., Any]:
    def rows_by(out: int, x: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return x.new_empty(x.shape[0], out, dtype=dtype)

    def turned(position: Tensor, frequencies: Tensor, factor: float, rows: int) -> tuple[Tensor, Tensor]:
        cos = position.new_empty(rows, 1, 2 * frequencies.shape[0], dtype=torch.float32)
        return cos, torch.empty_like(cos)

    shapes: dict[str, Callable[..., Any]] = {
        "linear": lambda x, bits, weight, scale: rows_by(weight.shape[0], x),
        "gated_linear": lambda x, bits, weight, scale, up: rows_by(weight.shape[0] // (2 if up is None else 1), x),
        "norm": lambda x, *_: x.new_empty(x.shape),
        "add_norm": lambda residual, *_: (residual.new_empty(residual.shape), residual.new_empty(residual.shape)),
        "add_norms": lambda residual, *_: tuple(residual.new_empty(residual.shape) for _ in range(4)),
        "add_experts": lambda parts, choice, dense, *_: (dense.new_empty(dense.shape), dense.new_empty(dense.shape)),
        "add": lambda residual, *_: residual.new_empty(residual.shape),
        "rotation": turned,
        "turn": lambda product, *rest: product.new_empty(product.shape[0], rest[6], product.shape[2]),
        "attend": lambda query, *_: rows_by(query.shape[1] * query.shape[2], query),
        "soft_cap": lambda x, cap: x.new_empty(x.shape, dtype=torch.float32),
        "experts": lambda x, logits, per_expert, real, per_row, *_: (
            x.new_empty(len(x) * per_row, x.shape[1], dtype=torch.float32),
            x.new_empty(len(x), per_row, dtype=torch.float32),
        ),
        "choose": lambda logits, position, *_: position.new_empty(logits.shape[0]),
    }
    return shapes[name]


class Operators:
    """The operators, each as a function of that name in Functions."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.ops.gemma, name)

    def experts(
        self, x: Tensor, logits: Tensor, per_expert: Tensor, real: Tensor, per_row: int, up: Stack, down: Stack
    ) -> tuple[Tensor, Tensor]:
        both = (up, down)
        result: tuple[Tensor, Tensor] = torch.ops.gemma.experts(
            *(x, logits, per_expert, real, per_row, [each.bits for each in both], [each.width for each in both]),
            *([each.weight for each in both], [each.scale for each in both]),
        )
        return result


_library = torch.library.Library("gemma", "DEF")  # type: ignore[no-untyped-call]
for _schema in _SCHEMAS.strip().splitlines():
    _name = _schema.partition("(")[0]
    _library.define(_schema)  # type: ignore[no-untyped-call]
    _library.impl(_name, _launching(_name), "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _library.impl(_name, _shapes(_name), "Meta")  # type: ignore[no-untyped-call]

functions: Functions = Operators()
