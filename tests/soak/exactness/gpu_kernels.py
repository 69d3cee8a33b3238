"""Runs the Triton kernels in Triton's interpreter at the released models' inner shapes, and compiles them for GPUs that
are not here. Needs Triton, and no GPU.

A comparison is a row of results that must have the same bits among any number of rows, in any place.
"""

import os
import random
from collections.abc import Callable, Iterator
from functools import partial

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
import triton

from gemma_cli.engines.local.triton_kernels.tiles import linear_tile
from tests.engines.triton_kernels.checks.fenced_kernels import CARDS, FencedKernels
from tests.engines.triton_kernels.checks.linear_checks import check_linear
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
        yield name, partial(check_linear, FencedKernels(CARDS[card]), kind, few, width, tile, counts)


def trial(scale: float) -> Outcome:
    """Compare COMPARISONS rows."""
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    compared, checks, failures = 0, 0, list[str]()
    every = linear_checks()
    while compared < COMPARISONS * scale and not failures:
        name, check = next(every)
        try:
            compared += check()
        except AssertionError as error:
            failures.append(f"{name}: {error}")
        checks += 1
    return Outcome(compared, failures, f"Triton {triton.__version__}: {checks} shapes, tiles and cards")
