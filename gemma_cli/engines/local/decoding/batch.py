"""Several sequences read and decoded as one: the rows of a pass belong to different sequences.

A pass over sixteen rows costs a small model hardly more than one over four, so sixteen sequences take little more time
than one. Nothing is drafted: the number of rows in a pass is limited (batch_invariance.py), and a row of another
sequence always yields a token, while a draft yields one only sometimes. The output of each sequence is bit for bit the
output that it has alone: linear layers give a row the same bits next to any other rows, and attention runs sequence by
sequence (batched_attention.py).

Prompts are read together where that was measured to hold for long passes too; else one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import zip_longest

import torch
from torch import Tensor

from gemma_cli.engines.local.decoding.prefix_cache import image_blocks, passes, whole_passes
from gemma_cli.engines.local.loading.batch_invariance import agree_when_many
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.chunks import Pass
from gemma_cli.engines.local.model.query_log import QueryLog
from gemma_cli.engines.local.model.target import Target, chunk_size
from gemma_cli.engines.local.text.prompt import Prompt, Span

MOST_READ = 1032
"""Rows of prompts read in one pass: enough that what a pass costs by itself no longer shows."""

CACHES = 512 << 20
"""Bytes of keys and values that a batch may hold."""


class Batch:
    """Reads prompts and decodes what follows for one target; the caches belong to the sequences."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._chunk = chunk_size(target)

    @property
    def most(self) -> int:
        """Sequences that are decoded as one."""
        return self.target.rows.most

    def holds(self, lengths: Sequence[int]) -> bool:
        """Whether so many sequences of such lengths go together, in rows and in memory; one always does."""
        return len(lengths) == 1 or (len(lengths) <= self.most and sum(map(self._bytes, lengths)) <= CACHES)

    def _bytes(self, length: int) -> int:
        """Of keys and values that a sequence of so many positions has."""
        arch = self.target.arch
        numbers = sum(
            2 * layer.kv_heads * layer.head_dim * (arch.window if layer.sliding else length)
            for layer in arch.layers
            if layer.owns_kv
        )
        return numbers * self.target.kv_dtype.itemsize

    @torch.inference_mode()
    def read(
        self,
        prompts: Sequence[Prompt],
        features: Callable[[Span], Tensor],
        room: Sequence[int],
        logs: Sequence[QueryLog | None] = (),
    ) -> tuple[list[Cache], Tensor]:
        """A cache for each prompt, and the logits [m, vocab] of their last rows. room: tokens that may follow. logs:
        of the prompts whose replies are to be aligned."""
        caches = [self.target.new_cache(len(prompt.ids) + more) for prompt, more in zip(prompts, room, strict=True)]
        for cache, log in zip(caches, logs, strict=False):
            cache.record(log)
        logits = [
            self._read_together(prompts[part], features, caches[part])
            for part in self._parts([min(len(prompt.ids), self._chunk) for prompt in prompts])
        ]
        return caches, torch.cat(logits)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], caches: Sequence[Cache]) -> Tensor:
        """The logits [m, vocab] after one more token in each cache; at most rows.most of them."""
        ids = torch.tensor(tokens, device=self.target.device)
        logits, _ = self.target.verify_each(ids, caches, [1] * len(caches))
        return logits

    def _read_together(
        self, prompts: Sequence[Prompt], features: Callable[[Span], Tensor], caches: Sequence[Cache]
    ) -> Tensor:
        readers = [self._passes(prompt, features, cache) for prompt, cache in zip(prompts, caches, strict=True)]
        last: dict[int, tuple[Pass, Tensor]] = {}
        for each in zip_longest(*readers):
            present = {index: one for index, one in enumerate(each) if one is not None}
            states = self.target.read(list(present.values()))
            for (index, one), state in zip(present.items(), states, strict=True):
                last[index] = one, state
        ends = [last[index] for index in range(len(prompts))]
        most = self.target.rows.most
        parts = [ends[first : first + most] for first in range(0, len(ends), most)]
        logits = [self.target.finish([one for one, _ in part], torch.stack([x for _, x in part]))[0] for part in parts]
        return torch.cat(logits)

    def _passes(self, prompt: Prompt, features: Callable[[Span], Tensor], cache: Cache) -> Iterator[Pass]:
        blocks = image_blocks(self.target, prompt)
        stops = (*whole_passes(prompt, self._chunk, blocks), len(prompt.ids))
        return passes(self.target, prompt, features, blocks, cache, stops)

    def _parts(self, rows: Sequence[int]) -> Iterator[slice]:
        """Neighbours whose passes go into one."""
        first = total = 0
        for index, count in enumerate(rows):
            if index > first and (total + count > MOST_READ or not self._agree_when_many):
                yield slice(first, index)
                first, total = index, 0
            total += count
        yield slice(first, len(rows))

    @cached_property
    def _agree_when_many(self) -> bool:
        return agree_when_many(self.target, MOST_READ)
