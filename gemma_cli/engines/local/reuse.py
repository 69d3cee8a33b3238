"""The cache between requests: what a prompt shares with the one before is not read again.

Reuse must not change a bit of what follows, and a row's keys depend in the last bit on the prefill pass it was read in.
So only whole passes are reused, never what was decoded: at the last boundary between passes inside a prompt a snapshot
is taken, and a later prompt goes on from there if it is cut into the same passes up to it and holds the same ids and
the same media. The next turn of a chat goes on from the last snapshot, an edited message from the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypedDict

import torch
from torch import Tensor

from gemma_cli.engines.local.cache import SLACK, Cache, Snapshot
from gemma_cli.engines.local.model import CHUNK, Target, chunks
from gemma_cli.engines.local.prompt import Prompt, Span
from gemma_cli.messages import Image

CHUNK_ON_CPU = 128
"""Rows of a prefill pass where larger ones are hardly faster: what is shared is counted in whole passes."""

SNAPSHOTS = 2
"""How many are held: each costs the keys and values of the sliding layers (6 MiB for E2B, 0.8 GiB for 31B)."""


@dataclass(frozen=True)
class _Kept:
    """A snapshot at the last of `boundaries`, after that many rows of `prompt`."""

    prompt: Prompt
    boundaries: tuple[int, ...]
    snapshot: Snapshot

    def begins(self, prompt: Prompt, boundaries: tuple[int, ...]) -> bool:
        """Whether a fresh read of `prompt`, in passes that end at `boundaries`, comes by here and goes on."""
        same_passes = boundaries[: len(self.boundaries)] == self.boundaries != boundaries
        return same_passes and common_length(self.prompt, prompt) >= self.boundaries[-1]


class LiveCache:
    """One cache, kept from request to request."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.chunk = chunk_size(target)
        self.cache: Cache | None = None
        self._kept: list[_Kept] = []  # oldest first

    def forget(self) -> None:
        """Give the memory back."""
        self.cache = None
        self._kept = []

    def read(
        self, prompt: Prompt, features: Callable[[Span], Tensor], room: int
    ) -> tuple[Cache, tuple[Tensor, Tensor], int]:
        """Read `prompt`: the cache, (logits [1, vocab], hidden [1, hidden]) of its last row, and the rows reused.

        features: the rows of a span, [length, hidden]. room: tokens that may follow. An interruption leaves the cache
        empty, to be read anew.
        """
        try:
            return self._read(prompt, features, room)
        except BaseException:
            self.forget()
            raise

    def _read(
        self, prompt: Prompt, features: Callable[[Span], Tensor], room: int
    ) -> tuple[Cache, tuple[Tensor, Tensor], int]:
        blocks = image_blocks(self.target, prompt)
        boundaries = tuple(stop for _, stop in chunks(len(prompt.ids), self.chunk, blocks))
        cache, start = self._resume(prompt, boundaries, room)
        whole = boundaries[-2] if len(boundaries) > 1 else 0
        if whole > start:
            self._prefill(prompt, features, blocks, cache, start, whole)
            self._kept = [*self._kept[1 - SNAPSHOTS :], _Kept(prompt, boundaries[:-1], cache.snapshot())]
        last = self._prefill(prompt, features, blocks, cache, max(start, whole), len(prompt.ids))
        return cache, last, start

    def _resume(self, prompt: Prompt, boundaries: tuple[int, ...], room: int) -> tuple[Cache, int]:
        """A cache that holds the first rows of `prompt`, and how many."""
        for kept in reversed(self._kept):
            if self.cache and self.cache.can_restore(kept.snapshot) and kept.begins(prompt, boundaries):
                self.cache.restore(kept.snapshot)
                self._kept = self._kept[: self._kept.index(kept) + 1]
                return self.cache, kept.boundaries[-1]
        self._kept = []
        rows = min(len(prompt.ids) + room, self.target.context)
        if self.cache is not None and rows <= self.cache.capacity:
            self.cache.restart()
        else:
            self.cache = None  # before the next one takes its memory
            self.cache = self.target.new_cache(rows + SLACK)
        return self.cache, 0

    def _prefill(
        self,
        prompt: Prompt,
        features: Callable[[Span], Tensor],
        blocks: Tensor | None,
        cache: Cache,
        start: int,
        stop: int,
    ) -> tuple[Tensor, Tensor]:
        rows = inputs(self.target, prompt, features, blocks, start, stop)
        return self.target.prefill(cache=cache, chunk=self.chunk, **rows)


class Inputs(TypedDict):
    """What Target.prefill takes beside the cache."""

    ids: Tensor
    features: Tensor | None
    feature_mask: Tensor | None
    image_blocks: Tensor | None


def inputs(
    target: Target, prompt: Prompt, features: Callable[[Span], Tensor], blocks: Tensor | None, start: int, stop: int
) -> Inputs:
    """Rows start .. stop - 1 of a prompt. blocks: as image_blocks gives them."""
    ids = torch.tensor(prompt.ids[start:stop], device=target.device)
    mask = torch.zeros(stop - start, dtype=torch.bool, device=target.device)
    rows = []
    for span in prompt.media:
        first, last = max(span.start, start), min(span.start + span.length, stop)
        if first < last:
            mask[first - start : last - start] = True
            rows.append(features(span)[first - span.start : last - span.start])
    return Inputs(
        ids=ids.masked_fill(mask, target.arch.pad_id),  # a placeholder's id may lie outside the vocabulary
        features=torch.cat(rows) if rows else None,
        feature_mask=mask if rows else None,
        image_blocks=None if blocks is None else blocks[start:stop],
    )


def image_blocks(target: Target, prompt: Prompt) -> Tensor | None:
    """Which image each row belongs to, -1 for none; None where images are read as text is."""
    if target.arch.vision_mask == "causal":
        return None
    blocks = torch.full((len(prompt.ids),), -1, device=target.device)
    for index, span in enumerate(prompt.media):
        if isinstance(span.medium, Image):
            blocks[span.start : span.start + span.length] = index
    return blocks


def chunk_size(target: Target) -> int:
    """Rows of a prefill pass."""
    return CHUNK_ON_CPU if target.device.type == "cpu" else CHUNK


def common_length(one: Prompt, other: Prompt) -> int:
    """Rows at the start that two prompts share: ids and media alike."""
    pairs = zip(one.ids, other.ids, strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one.ids), len(other.ids)))
    for a, b in zip_longest(one.media, other.media):
        if a != b:
            return min([shared, *(span.start for span in (a, b) if span)])
    return shared
