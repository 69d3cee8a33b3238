"""Runs the Triton kernels in Triton's interpreter at the released models' inner shapes, and compiles them for GPUs that
are not here. Needs Triton, and no GPU.

A comparison is a row of results that must have the same bits among any number of rows, in any place.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
import triton

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.triton_kernels.tiles import Bits, linear_tile
from tests.engines.triton_kernels.checks.attention_checks import AttentionCase, check_attention
from tests.engines.triton_kernels.checks.between_checks import (
    check_choice,
    check_end_of_experts,
    check_norms,
    check_rotation,
    check_soft_cap,
    check_turn,
)
from tests.engines.triton_kernels.checks.expert_checks import check_experts
from tests.engines.triton_kernels.checks.fenced_kernels import CARDS, FencedKernels
from tests.engines.triton_kernels.checks.linear_checks import check_gated, check_linear
from tests.engines.triton_kernels.checks.released_shapes import every_shape
from tests.soak.outcome import Outcome

PROMISE = "A row of a Triton kernel's result has the same bits among 1 to 16 rows, at any place, and the right value."

COMPARISONS = 10_000


Check = tuple[str, Callable[[], int]]


def linear_checks() -> Iterator[Check]:
    """Endless checks of linear layers: widths of released models in the parts of a card, a few tiles of outputs."""
    shapes = sorted(set().union(*(shapes.linear for shapes in every_shape().values())))
    while True:
        card = random.choice(list(CARDS))
        out, width = random.choice(shapes)
        kind = random.choice((16, 8, 4))
        tile = linear_tile(CARDS[card], out, width, kind)
        few = min(out, tile.outputs + random.choice((0, 0, -1, -tile.outputs // 2)))
        name = f"linear layer of {kind} bits, {few} of {out} x {width}, {card}"
        counts = random.sample(range(1, 17), 8)
        if random.random() < 0.1:
            yield f"gated {name}", partial(check_gated, FencedKernels(CARDS[card]), kind, few // 2, width, tile)
        yield name, partial(check_linear, FencedKernels(CARDS[card]), kind, few, width, tile, counts)


def attention_checks() -> Iterator[Check]:
    """Endless checks of attention: shapes of released models with one or two key heads, rings that are young, full and
    wrapped, long layers whose parts begin or end inside the pass."""
    shapes = sorted(set().union(*(shapes.attention for shapes in every_shape().values())))
    while True:
        card, shape = random.choice(list(CARDS)), random.choice(shapes)
        slots = shape.window + 64 if shape.window else random.choice((512, 768, 1024))
        position = random.choice((0, 255, random.randrange(slots - 16), slots * 9 - 3 if shape.window else slots - 16))
        case = AttentionCase(shape.group, 1, shape.dim, slots, position, shape.window)
        name = f"{case}, {card}"
        yield name, partial(check_attention, FencedKernels(CARDS[card]), case, random.sample(range(1, 9), 3), rows=8)


def long_attention_checks() -> Iterator[Check]:
    """Endless checks of small heads far from the beginning, where parts grow longer."""
    while True:
        position = random.choice((8191, 8192, 9214, 9216, 10239))
        case = AttentionCase(2, 1, 16, 11264, position)
        yield str(case), partial(check_attention, FencedKernels(), case, (1,), rows=3)


def expert_checks() -> Iterator[Check]:
    """Endless checks of 128 experts, 8 a row; hidden sizes and inner widths of 26B, one of them cut short."""
    while True:
        kind: Bits = random.choice((16, 8, 4))
        hidden, inner = random.choice(((2816, 32), (96, 704)))
        name = f"128 experts of {kind} bits, {hidden} x {inner}"
        yield name, partial(check_experts, FencedKernels(), kind, hidden, inner, 128, 8, rows=random.choice((2, 3)))


def between_checks() -> Iterator[Check]:
    """Endless checks of norms, rotation and gates at the released sizes, and of choices."""
    while True:
        kernels = FencedKernels()
        width = random.choice((1536, 2560, 2816, 3840, 5376))
        yield f"norm of {width}", partial(check_norms, kernels, width, 8)
        dim, position = random.choice((256, 512)), random.randrange(1 << 18)
        kind = random.choice(("apart", "values are keys", "queries"))
        yield f"rotation of {kind}", partial(check_turn, kernels, 8, 2, dim, 576, position, kind)
        yield f"rotation at {position}", partial(check_rotation, kernels, dim // 2, position)
        yield f"soft cap of {width}", partial(check_soft_cap, kernels, width)
        yield f"end of experts of {width}", partial(check_end_of_experts, kernels, width, 8)
        sampling = Sampling(
            temperature=random.choice((0.0, 0.3, 1.0, 2.0)), top_k=random.choice((1, 2, 5, 8)),
            top_p=random.choice((1.0, 0.95, 0.4)), min_p=random.choice((0.0, 0.1)), seed=random.randrange(1 << 63),
        )  # fmt: skip
        odd = random.choice(("", "", "ties", "ties", "nan", "inf", "low"))
        named = random.random() < 0.3
        yield f"{sampling} {odd}", partial(check_choice, kernels, random.randrange(130, 400), sampling, 4, odd, named)


def trial(scale: float) -> Outcome:
    """Compare COMPARISONS rows, at least one check of each kind."""
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    compared, failures = 0, list[str]()
    done = Counter[str]()
    kinds = [linear_checks, attention_checks, expert_checks, between_checks, long_attention_checks]
    weights = [60, 12, 4, 24, 1]
    running = {kind: kind() for kind in kinds}
    for kind in chain(kinds, iter(lambda: random.choices(kinds, weights)[0], None)):
        if compared >= COMPARISONS * scale and len(done) == len(kinds):
            break
        name, check = next(running[kind])
        try:
            compared += check()
        except AssertionError as error:
            failures.append(f"{name}: {error}")
        done[kind.__name__.removesuffix("_checks")] += 1
    return Outcome(compared, failures, f"Triton {triton.__version__}; checks: {dict(done)}")
