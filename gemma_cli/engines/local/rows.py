"""How many rows make a row's bits independent of the rows beside it, measured on the machine at hand.

A matrix product with few rows takes another kernel than one with many, and kernels sum in different orders. Which
counts agree is a property of the library and the processor: on one, a single row is special (gemv); on another one to
three are. So it is measured on every shape of product the model has: `RowRule.least` is the smallest count from which
on all counts give a row the same bits, and `verify` never runs fewer. Where counts do not agree, and on a GPU, where
there are more kernels than can be tried, every pass has the same count (least == most).

`exact` is False where even that fails: a row's bits depend on its place among the others. Then nothing is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gemma_cli.engines.local.activation import gated, gelu
from gemma_cli.engines.local.attention import few_rows
from gemma_cli.engines.local.cache import BUCKET, SLACK
from gemma_cli.engines.local.linear import Linear

if TYPE_CHECKING:
    from gemma_cli.engines.local.model import Target

FIXED = 8
MOST = 16
_TRIED = (12, 10, 9, 8, 7, 6, 5, 4, 3, 2)

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RowRule:
    """A target pass has at least `least` rows (the last is repeated) and at most `most` (then there are several)."""

    least: int
    most: int
    exact: bool


UNMEASURED = RowRule(FIXED, FIXED, exact=False)


@torch.inference_mode()
def measure_rows(target: Target) -> RowRule:
    """The rule for this model on its device, in a few passes' time."""
    products = list(_products(target))
    if target.device.type == "cpu":
        least = max(_least(product, rows) for product, rows in products)
        if least <= FIXED:
            return RowRule(least, MOST, exact=True)
    return RowRule(FIXED, FIXED, exact=all(_placeless(product, rows) for product, rows in products))


def _least(product: Product, rows: Tensor) -> int:
    """The smallest tried count from which on every count gives the same bits as MOST rows."""
    expected = product(rows)
    least = MOST
    for count in _TRIED:
        first = count % 3  # the place among the rows must not matter either
        if not torch.equal(product(rows[first : first + count].clone()), expected[first : first + count]):
            break
        least = count
    return least


def _placeless(product: Product, rows: Tensor) -> bool:
    """Whether FIXED rows give the same bits in another order."""
    expected = product(rows[:FIXED].clone())
    return torch.equal(product(rows[:FIXED].roll(3, 0)), expected.roll(3, 0))


def _products(target: Target) -> Iterator[tuple[Product, Tensor]]:
    """Every distinct kind of product of a target pass, with rows [MOST, ...] to run it on."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int, dtype: torch.dtype = target.dtype) -> Tensor:
        return torch.randn(*shape, generator=generator).to(target.device, dtype)

    yield target.head, random(MOST, target.hidden_size)
    for out, width in sorted({linear.shape for linear in _linears(target)}):
        yield _cancelling(random(out, width // 2), random(MOST, width // 2), generator)
    widths = {layer.feed_forward.down.shape[1] for layer in target.layers}
    for width in sorted(widths):
        yield gated, random(MOST, 2 * width)
    if target.per_layer is not None:
        yield gelu, random(MOST, target.per_layer.width)
    for heads, kv_heads, dim, sliding in sorted(
        {(shape.heads, shape.kv_heads, shape.head_dim, shape.sliding) for shape in target.arch.layers}
    ):
        length = target.arch.window + SLACK if sliding else BUCKET
        keys, values = (random(kv_heads, length, dim, dtype=target.kv_dtype) for _ in range(2))
        yield _attention(keys, values), random(MOST, heads, dim, dtype=target.kv_dtype)


def _cancelling(weight: Tensor, rows: Tensor, generator: torch.Generator) -> tuple[Product, Tensor]:
    """A product whose exact result is zero, in shuffled order: what comes out is rounding alone, so two kernels that
    sum differently cannot agree by chance, which in bfloat16 they otherwise nearly always do."""
    order = torch.randperm(2 * weight.shape[1], generator=generator).to(weight.device)
    return Linear(torch.cat((weight, weight), 1)[:, order]), torch.cat((rows, -rows), 1)[:, order]


def _attention(keys: Tensor, values: Tensor) -> Product:
    return lambda query: few_rows(query, keys, values, None)


def _linears(target: Target) -> Iterator[Linear]:
    """All but the head's, which is large: it is measured as it is, and its many outputs make up for plain numbers."""
    if target.per_layer is not None:
        yield target.per_layer.project
    for layer in target.layers:
        yield from (layer.attention.qkv, layer.attention.out)
        yield from (layer.feed_forward.gate_up, layer.feed_forward.down)
        if layer.per_layer_input is not None:
            yield from (layer.per_layer_input.gate, layer.per_layer_input.project)
        if layer.experts is not None:
            yield from (layer.experts.router, layer.experts.gate_up[0], layer.experts.down[0])
