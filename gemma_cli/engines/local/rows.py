"""How many rows make a row's bits independent of the rows beside it, measured on the machine at hand.

A matrix product with few rows takes another kernel than one with many, and kernels sum in different orders. Which
counts agree is a property of the library and the processor: on one, a single row is special (gemv); on another one to
three are. So it is measured on every shape of product the model has: `RowRule.least` is the smallest count from which
on all counts give a row the same bits, and `verify` never runs fewer. Where counts do not agree, and on a GPU, where
there are more kernels than can be tried, every pass has the same count (least == most).

`exact` is False where even that fails: a row's bits depend on its place among the others. Then nothing is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local.attention import few_rows
from gemma_cli.engines.local.cache import BUCKET, SLACK

if TYPE_CHECKING:
    from gemma_cli.engines.local.model import Target

FIXED = 8
_TRIED = (9, 8, 7, 6, 5, 4, 3, 2)
_MOST_TRIED = 12

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RowRule:
    """A target pass has at least `least` rows (the last is repeated) and at most `most` (then there are several)."""

    least: int
    most: int
    exact: bool


@torch.inference_mode()
def measure_rows(target: Target) -> RowRule:
    """The rule for this model on its device. Takes a few passes' time; needs no cache."""
    products = list(_products(target))
    if target.device.type == "cpu":
        least = max(_least(product, rows) for product, rows in products)
        if least <= FIXED:
            return RowRule(least, SLACK, exact=True)
    return RowRule(FIXED, FIXED, exact=all(_placeless(product, rows) for product, rows in products))


def _least(product: Product, rows: Tensor) -> int:
    """The smallest tried count from which on every count gives the same bits as _MOST_TRIED rows."""
    expected = product(rows)
    least = _MOST_TRIED
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
    """Every distinct kind of product of a target pass, with random rows [_MOST_TRIED, ...] to run it on."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int, dtype: torch.dtype = target.dtype) -> Tensor:
        return torch.randn(*shape, generator=generator).to(target.device, dtype)

    for weight in {(weight.shape, weight.dtype): weight for weight in _weights(target)}.values():
        yield (lambda x, weight=weight: F.linear(x, weight)), random(_MOST_TRIED, weight.shape[1])
    kinds = {(layer.heads, layer.kv_heads, layer.head_dim, layer.sliding) for layer in target.arch.layers}
    for heads, kv_heads, dim, sliding in sorted(kinds):
        length = target.arch.window + SLACK if sliding else BUCKET
        keys, values = (random(kv_heads, length, dim, dtype=target.kv_dtype) for _ in range(2))
        yield (
            lambda x, keys=keys, values=values: few_rows(x, keys, values, None),
            random(_MOST_TRIED, heads, dim, dtype=target.kv_dtype),
        )


def _weights(target: Target) -> Sequence[Tensor]:
    weights = [target.head.weight]
    if target.per_layer is not None:
        weights.append(target.per_layer.project.weight)
    for layer in target.layers:
        weights += [layer.attention.qkv.weight, layer.attention.out.weight]
        weights += [layer.feed_forward.gate_up.weight, layer.feed_forward.down.weight]
        if layer.per_layer_input is not None:
            weights += [layer.per_layer_input.gate.weight, layer.per_layer_input.project.weight]
        if layer.experts is not None:
            weights += [layer.experts.router.weight, layer.experts.gate_up[0], layer.experts.down[0]]
    return weights
