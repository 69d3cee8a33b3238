"""The cache between requests: what a prompt shares with the one before is not read again.

Reuse must not change a bit of what follows, and a row's keys depend in the last bit on the prefill pass it was read in.
So only whole passes are reused, never what was decoded, and the rows before it alone decide where a pass ends: a prompt
that goes on from another is cut like it. A pass ends when it is long enough, and where the model's turn opens, which is
how the prompts of a chat end: the next turn reads what was said since and not a row more, a retry nothing.

A snapshot is taken at the last end and kept beside the one that the prompt went on from, or else one at the end before.
A later prompt goes on from the last that both have: the next turn from the newest, another message from where the turn
before it ended, another question about one text from where the last whole pass over the text ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from gemma_cli.core.messages import Image
from gemma_cli.engines.local.model.cache import SLACK, SNAPSHOTS, Cache, Snapshot
from gemma_cli.engines.local.model.chunks import Pass, chunks
from gemma_cli.engines.local.model.query_log import QueryLog
from gemma_cli.engines.local.model.target import Target, chunk_size
from gemma_cli.engines.local.text.prompt import Prompt, Span

SHORTEST = 4
"""A turn ends a pass that has at least one row in so many of a full one: a first reading of many short turns would
else take as many small passes, each of which reads the weights."""


Last = tuple[Tensor, Tensor]
"""The result of a prompt's last row: logits [1, vocab], hidden [1, hidden]."""


@dataclass(frozen=True)
class _CachedPrefix:
    """A snapshot at the last of `ends`, after that many rows of `prompt`. last: set where those are all of it."""

    prompt: Prompt
    ends: tuple[int, ...]
    snapshot: Snapshot
    last: Last | None

    def begins(self, prompt: Prompt, ends: tuple[int, ...]) -> bool:
        """Whether a fresh read of `prompt`, in whole passes that end at `ends`, comes by here."""
        rows = self.ends[-1]
        goes_on = rows < len(prompt.ids) or self.last is not None
        return goes_on and ends[: len(self.ends)] == self.ends and shared(self.prompt, prompt, rows)


class PrefixCache:
    """One cache, kept from request to request."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.chunk = chunk_size(target)
        self.cache: Cache | None = None
        self._kept: list[_CachedPrefix] = []  # oldest first

    def provide(self, capacity: int) -> Cache:
        """Make the cache of the next prompts now, with room for `capacity` positions."""
        self.cache = self.target.new_cache(capacity)
        return self.cache

    def forget(self) -> None:
        """Give the memory back."""
        self.cache = None
        self._kept = []

    def read(
        self, prompt: Prompt, features: Callable[[Span], Tensor], room: int, log: QueryLog | None = None
    ) -> tuple[Cache, Last, int]:
        """Read `prompt`: the cache, what its last row gives, and the rows reused.

        features: the rows of a span, [length, hidden]. room: tokens that may follow. log: records the last row.
        An interruption leaves the cache empty, to be read anew.
        """
        blocks = image_blocks(self.target, prompt)
        ends = whole_passes(prompt, self.chunk, blocks)
        last: Last | None = None
        try:
            cache, start = self._resume(prompt, ends, room)
            cache.record(log)
            if start == len(prompt.ids) and (known := self._kept[-1].last):
                return cache, _copy(known), start
            for count, stop in enumerate((*ends, len(prompt.ids)), 1):
                if stop <= cache.length:
                    continue
                for reading in passes(self.target, prompt, features, blocks, cache, (stop,)):
                    states = self.target.read([reading])
                last = self.target.finish([reading], states) if stop == len(prompt.ids) else None
                if count == len(ends) or (count == len(ends) - 1 and not self._kept):
                    del self._kept[: 1 - SNAPSHOTS]  # before the next takes its memory
                    self._kept.append(_CachedPrefix(prompt, ends[:count], cache.snapshot(), last and _copy(last)))
        except BaseException:
            self.forget()
            raise
        assert last is not None
        return cache, last, start

    def _resume(self, prompt: Prompt, ends: tuple[int, ...], room: int) -> tuple[Cache, int]:
        """A cache that holds the first rows of `prompt`, and how many; where it holds any, what it goes on from is the
        last that is kept."""
        while self._kept and not self._leads(self._kept[-1], prompt, ends):
            self._kept.pop()
        if self.cache is not None and self._kept:
            self.cache.restore(self._kept[-1].snapshot)
            return self.cache, self._kept[-1].ends[-1]
        rows = min(len(prompt.ids) + room, self.target.context)
        if self.cache is not None and rows <= self.cache.capacity:
            self.cache.restart()
        else:
            self.cache = None  # before the next one takes its memory
            self.cache = self.target.new_cache(rows + SLACK)
        return self.cache, 0

    def _leads(self, kept: _CachedPrefix, prompt: Prompt, ends: tuple[int, ...]) -> bool:
        return self.cache is not None and self.cache.can_restore(kept.snapshot) and kept.begins(prompt, ends)


def _copy(last: Last) -> Last:
    """Of what its reader may write to."""
    logits, hidden = last
    return logits.clone(), hidden.clone()


def whole_passes(prompt: Prompt, size: int, blocks: Tensor | None) -> tuple[int, ...]:
    """Where passes of about `size` rows end in every prompt that begins with this one, in rising order. Rows after the
    last are read in one pass more. blocks: as image_blocks gives them."""
    ends: list[int] = []

    def cut(stop: int) -> int:
        """Up to `stop`, by size alone; the end before it."""
        first = ends[-1] if ends else 0
        part = None if blocks is None else blocks[first:stop]
        *whole, _ = (first + end for _, end in chunks(stop - first, size, part)) if stop > first else (stop,)
        ends.extend(whole)
        return ends[-1] if ends else 0

    for turn in prompt.turns:
        if turn - cut(turn) >= size // SHORTEST:
            ends.append(turn)
    cut(len(prompt.ids))
    return tuple(ends)


def passes(
    target: Target,
    prompt: Prompt,
    features: Callable[[Span], Tensor],
    blocks: Tensor | None,
    cache: Cache,
    stops: Sequence[int],
) -> Iterator[Pass]:
    """The rows after those that `cache` holds, in passes that end at `stops`: as Target.passes gives them."""
    for stop in stops:
        if stop > cache.length:
            rows = inputs(target, prompt, features, blocks, cache.length, stop)
            yield from target.passes(cache=cache, chunk=stop - cache.length, **rows)


class Inputs(TypedDict):
    """Return the arguments of Target.prefill besides the cache."""

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


def shared(one: Prompt, other: Prompt, rows: int) -> bool:
    """Whether two prompts agree in their first rows: ids and media alike."""
    media = [[span for span in prompt.media if span.start < rows] for prompt in (one, other)]
    return one.ids[:rows] == other.ids[:rows] and media[0] == media[1]
