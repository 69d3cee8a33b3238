"""Measurement of the row counts that give a row the same bits regardless of the other rows.

A matrix product with few rows takes another kernel than one with many, and kernels sum in different orders. Which
counts agree is a property of the library, the processor and the number of threads: with one library a single row is
special (gemv), with another one to three are, or all that are no multiple of four. So it is measured, on every shape of
product the model has, and `verify` runs only counts that agree: it fills a pass up by repeating its last row.

Where weights come from memory, a few more rows may even be quicker: oneDNN's bfloat16 kernels read half as fast again
for five rows as for two. So a count that a larger one beats is left out too, and a pass filled up to that one.

On a GPU, where there are more kernels than can be tried, every pass has the same count. `exact` is False where even
that fails, because a row's bits depend on its place among the others. Then nothing is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gemma_cli.engines.local import kernel_table, native
from gemma_cli.engines.local.device import last_level_cache
from gemma_cli.engines.local.model.attention import few_rows
from gemma_cli.engines.local.model.cache import BUCKET, EVERY, SLACK, Slots
from gemma_cli.engines.local.model.layers.activation import gated, gelu
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.multi_gpu import SpreadTarget, part_on
from gemma_cli.engines.local.model.row_rule import FIXED, UNMEASURED, RowRule
from gemma_cli.engines.local.model.target import Target

if TYPE_CHECKING:
    from gemma_cli.engines.local.model.target import Target


TRIED = (2, 3, 4, 5, 6, 7, 8, 9, 12, 16)
MOST = TRIED[-1]

CLEARLY = 0.95
"""Share of a smaller count's time that a larger one may take to replace it."""

CACHES, REPEATS = 4, 5  # of what is timed: last-level caches it overflows, and runs, the shortest of which counts

LinearFunction = Callable[[Tensor], Tensor]


@torch.inference_mode()
def measure_rows(target: Target) -> RowRule:
    """The rule for this model on its device, in a few passes' time. Timing chooses among counts that agree, so it never
    shows in what comes out."""
    products = _products(target)
    if target.device.type != "cpu":
        return RowRule((FIXED,), exact=all(_placeless(product, rows[:FIXED]) for product, rows in products))
    # Torch's products of floats have a kernel of their own for a single row, which is not worth a try.
    one_row = all(linear.one_row for linear in (target.head, *linears(target)))
    rule = agreeing(products, (1, *TRIED) if one_row else TRIED)
    product = _from_memory(target)
    if product is None:
        return rule
    rows = _Random(target)(FIXED, target.hidden_size)
    return without_slow(rule, _seconds(product, rows, [count for count in rule.counts if count <= FIXED]))


def without_slow(rule: RowRule, seconds: Mapping[int, float]) -> RowRule:
    """The rule less the counts that take clearly longer than a larger one; seconds: by count, of those in question."""
    slow = {
        count for count in seconds if any(more > count and seconds[more] < CLEARLY * seconds[count] for more in seconds)
    }
    return RowRule(tuple(count for count in rule.counts if count not in slow), rule.exact)


def _from_memory(target: Target) -> LinearFunction | None:
    """Return linear layers of the target that together read several times the last-level cache, or None: in the cache
    fewer rows are quicker."""
    chosen: list[Linear] = []
    for layer in target.layers:
        chosen.append(layer.feed_forward.gate_up)
        if sum(linear.nbytes for linear in chosen) > CACHES * last_level_cache(target.device):
            return lambda rows: [linear(rows) for linear in chosen][-1]
    return None


def _seconds(product: LinearFunction, rows: Tensor, counts: Sequence[int]) -> dict[int, float]:
    """The shortest time of a product for each count, in turns."""
    shortest = dict.fromkeys(counts, inf)
    for _ in range(REPEATS):
        for count in counts:
            few = rows[:count].clone()
            began = perf_counter()
            product(few)
            shortest[count] = min(shortest[count], perf_counter() - began)
    return shortest


@torch.inference_mode()
def agree_when_many(target: Target, rows: int) -> bool:
    """Whether up to `rows` rows, a multiple of FIXED, give each row the bits it gets among fewer, as prompts that are
    read together need. Attention, which sequences do not share, is left out."""
    return all(_whole_agrees(product, many) for product, many in _row_products(target, rows))


@torch.inference_mode()
def widest_pass(target: Target, most: int) -> int:
    """The rows, at most `most`, of the widest target pass that rows of several sequences may share: up to it every
    multiple of FIXED gives a row the bits it gets among RowRule.most, wherever it stands."""
    few = target.rows.most
    widest = max(most // few * few, few)
    head: tuple[LinearFunction, Tensor] = (target.head, _Random(target)(widest, target.hidden_size))
    for product, rows in (*_row_products(target, widest), head):
        alone = torch.cat([product(part.clone()) for part in torch.split(rows, few)])
        for count in range(few + FIXED - few % FIXED, widest + 1, FIXED):
            agree = torch.equal(product(rows[:count].clone()), alone[:count])
            if not (agree and _placeless(product, rows[:count])):
                widest = count - FIXED if count - FIXED > few else few
                break
    return widest


def _whole_agrees(product: LinearFunction, rows: Tensor) -> bool:
    count = rows.shape[0]
    whole = product(rows.clone())
    for size in (FIXED, 5 * FIXED, 17 * FIXED, 65 * FIXED):
        for first in {0, count // 2 // FIXED * FIXED, count - size}:
            part = rows[first : first + size].clone()
            if first >= 0 and not torch.equal(product(part), whole[first : first + size]):
                return False
    return True


def agreeing(products: Iterable[tuple[LinearFunction, Tensor]], tried: Sequence[int] = TRIED) -> RowRule:
    """The counts of `tried` on which all products, each with rows [MOST, ...] to run on, agree with a measure: MOST
    rows, or FIXED, if those give every place among them the same bits."""
    agreed = {most: {count for count in tried if count <= most} for most in (MOST, FIXED)}
    for product, rows in products:
        results = {count: product(rows[:count].clone()) for count in agreed[MOST] | agreed[FIXED]}
        for most, counts in agreed.items():
            if counts:
                counts &= {count for count in counts if torch.equal(results[count], results[most][:count])}
                if not _placeless(product, rows[:most]):
                    counts.clear()
        del product  # before the next is made, which may be as large
    useful = [counts for counts in agreed.values() if counts]
    return RowRule(tuple(sorted(min(useful, key=min))), exact=True) if useful else UNMEASURED


def _placeless(product: LinearFunction, rows: Tensor) -> bool:
    """Return whether a row's bits are the same at another place among as many rows."""
    return torch.equal(product(rows.roll(1, 0)), product(rows.clone()).roll(1, 0))


def _products(target: Target) -> Iterator[tuple[LinearFunction, Tensor]]:
    """Every distinct kind of product of a target pass, with rows [MOST, ...] to run it on."""
    yield from _row_products(target, MOST)
    random = _Random(target)
    for heads, kv_heads, dim, sliding in sorted(
        {(shape.heads, shape.kv_heads, shape.head_dim, shape.sliding) for shape in target.arch.layers}
    ):
        for length in (target.arch.window + SLACK,) if sliding else (BUCKET, 16 * BUCKET):
            keys, values = (random(kv_heads, length, dim, dtype=target.kv_dtype) for _ in range(2))
            yield _attention(Slots(keys, values)), random(MOST, heads, dim, dtype=target.kv_dtype)
    yield target.head, random(MOST, target.hidden_size)


def _row_products(target: Target, most: int) -> Iterator[tuple[LinearFunction, Tensor]]:
    """Return the linear layers that take all rows of a pass, with rows [most, ...]."""
    random = _Random(target)
    kinds = {(linear.shape, type(linear).__name__): linear for linear in linears(target)}
    for ((out, width), _), linear in sorted(kinds.items(), key=lambda item: item[0]):
        if linear.integers:  # its sums are exact: what could differ is what comes after them
            yield linear, random(most, width)
        else:
            yield _cancelling(linear, random(out, width // 2), random(most, width // 2), random.generator)
    widths = {layer.feed_forward.down.shape[1] for layer in target.layers}
    for width in sorted(widths):
        yield gated, random(most, 2 * width)
    if target.per_layer is not None:
        yield gelu, random(most, target.per_layer.width)
    yield target.norm, random(most, target.hidden_size)


class _Random:
    """Normal numbers on the target's device, the same every time."""

    def __init__(self, target: Target) -> None:
        self._device, self._dtype = target.device, target.dtype
        # A CPU would draw the hundred million numbers of a large model's weight on one thread.
        self.generator = torch.Generator(self._device if self._device.type == "cuda" else "cpu").manual_seed(0)

    def __call__(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        drawn = torch.randn(*shape, generator=self.generator, device=self.generator.device)
        return drawn.to(self._device, dtype or self._dtype)


def _cancelling(
    linear: Linear, weight: Tensor, rows: Tensor, generator: torch.Generator
) -> tuple[LinearFunction, Tensor]:
    """A product like `linear` whose exact result is zero, in shuffled order: what comes out is rounding alone, so two
    kernels that sum differently cannot agree by chance, which in bfloat16 they otherwise nearly always do. Inputs that
    share a scale stay together."""
    width = 2 * weight.shape[1]
    unit = linear.group if weight.shape[1] % linear.group == 0 else width
    starts = torch.randperm(width // unit, generator=generator, device=generator.device)[:, None] * unit
    order = (starts + torch.arange(unit, device=generator.device)).flatten().to(weight.device)
    twice = weight[:, order % weight.shape[1]]  # (weight, weight) in that order
    return linear.alike(twice), torch.cat((rows, -rows), 1)[:, order]


def _attention(slots: Slots) -> LinearFunction:
    if kernels := native.on(slots.keys.device):
        return lambda query: kernels.attend(query, slots, slots.slots - 1, EVERY)
    if functions := kernel_table.few_rows(slots.keys.device, slots.keys.dtype):
        last = torch.full((1,), slots.slots, device=slots.keys.device)
        return lambda query: functions.attend(query, slots.keys, slots.values, last, 0)
    return lambda query: few_rows(query, slots.keys, slots.values, None)


def linears(target: Target) -> Iterator[Linear]:
    """All linear layers but the head, which is large: it is measured as it is, and its many outputs make up for plain
    numbers."""
    if target.per_layer is not None:
        yield target.per_layer.project
    for layer in target.layers:
        yield from (layer.attention.qkv, layer.attention.out)
        yield from (layer.feed_forward.gate_up, layer.feed_forward.down)
        if layer.per_layer_input is not None:
            yield from (layer.per_layer_input.gate, layer.per_layer_input.project)
        if layer.experts is not None:
            yield layer.experts.router
            if not isinstance(layer.experts.gate_up, ExpertStack):  # which takes rows one by one
                yield from (layer.experts.gate_up[0], layer.experts.down[0])


def measured(target: Target) -> RowRule:
    """rows.measure_rows on each device of a target: GPUs of two kinds have kernels of two kinds."""
    if not isinstance(target, SpreadTarget):
        return measure_rows(target)
    rules = [measure_rows(part_on(target, device)) for device in target.devices]
    counts = set.intersection(*(set(rule.counts) for rule in rules))
    return RowRule(tuple(sorted(counts)), all(rule.exact for rule in rules)) if counts else UNMEASURED
