"""The passes that a prompt is read in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.layer import Attend

CHUNK = 512
"""Rows of one prefill pass; an image whose rows see each other is never cut."""


@dataclass(frozen=True)
class Pass:
    """Rows of one sequence that are read at once: x [n, hidden], what they are embedded as; ids int64 [n], whose
    per-layer embeddings they get; into `cache`, which then holds `stop` positions."""

    x: Tensor
    ids: Tensor
    rows: Attend
    cache: Cache
    stop: int


def chunks(count: int, size: int, image_blocks: Tensor | None) -> Iterator[tuple[int, int]]:
    """(first, stop) of each pass; a boundary inside an image moves to its start, or to its end if it began the pass."""
    blocks = [-1] * count if image_blocks is None else image_blocks.tolist()
    first = 0
    while first < count:
        stop = min(first + size, count)
        while first < stop < count and blocks[stop] >= 0 and blocks[stop] == blocks[stop - 1]:
            stop -= 1
        if stop == first:
            stop = min(first + size, count)
            while stop < count and blocks[stop] == blocks[stop - 1]:
                stop += 1
        yield first, stop
        first = stop
