"""From a request to its first token: writes the prompt, reads it in passes, and chooses the token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Calibration
from gemma_cli.core.messages import Request
from gemma_cli.engines.local.alignment import query_log
from gemma_cli.engines.local.constraints.select import Constraints
from gemma_cli.engines.local.decoding.decode import numbers
from gemma_cli.engines.local.decoding.lookup import Lookup
from gemma_cli.engines.local.decoding.prefix_cache import image_blocks, passes, whole_passes
from gemma_cli.engines.local.decoding.row_sampling import RowChooser
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.loading.batch_invariance import agree_when_many
from gemma_cli.engines.local.model.target import chunk_size
from gemma_cli.engines.local.scheduling import rounds
from gemma_cli.engines.local.scheduling.prefix_store import PrefixStore, digests
from gemma_cli.engines.local.scheduling.sequence import Sequence as Running
from gemma_cli.engines.local.text.prompt import Prompt, PromptWriter, Span
from gemma_cli.engines.local.text.reply_events import ReplyEvents

MOST_READ = 1032
"""Rows of prompts read in one pass: enough to hide the fixed cost of a pass."""

READ_BESIDE = 256
"""Rows of prompts read in one pass while replies are running, which wait for it."""


class Model(rounds.Model, Protocol):
    """The part of an engine that reading a prompt uses."""

    towers: MediaEncoders
    info: EngineInfo
    writer: PromptWriter
    constraints: Constraints
    calibration: Calibration | None

    def room(self, request: Request, prompt: Prompt) -> int: ...

    def reply(self, request: Request, prompt: Prompt) -> ReplyEvents: ...


class PromptReader:
    """Starts requests and reads their prompts."""

    def __init__(self, model: Model, store: PrefixStore) -> None:
        self._model, self.store = model, store
        self._chunk = chunk_size(model.target)

    def write(self, request: Request) -> Prompt:
        """Write the prompt of a request. Raises InputError, ModelError."""
        return self._model.writer.write(request, self._model.towers.count)

    def room(self, request: Request, prompt: Prompt) -> int:
        """Return how many tokens may follow a prompt. Raises InputError if there is no room for any."""
        return self._model.room(request, prompt)

    @torch.inference_mode()
    def begin(self, key: int, request: Request, prompt: Prompt, began: float) -> Running:
        """Start a request. Its first unread pass is read next; if all passes are stored, it has its first token.

        Raises InputError, ModelError.
        """
        model, room = self._model, self.room(request, prompt)
        blocks = image_blocks(model.target, prompt)
        ends = whole_passes(prompt, self._chunk, blocks)
        cache = model.target.new_cache(min(len(prompt.ids) + room, model.target.context))
        log = query_log(model.target, request, prompt)  # it records the last row, so that row is read again
        chain = digests(prompt, ends)
        last = self.store.resume(
            [d for d, end in zip(chain, ends, strict=True) if not log or end < len(prompt.ids)], len(prompt.ids), cache
        )
        cache.record(log)
        one = Running(
            key,
            request,
            prompt,
            room,
            cache,
            passes(model.target, prompt, self._features, blocks, cache, (*ends, len(prompt.ids))),
            model.constraints.of(request, prompt.in_thought),
            Lookup(prompt.ids) if request.drafting.adaptive else None,
            model.reply(request, prompt),
            model.info.load_s,
            began,
            chain=chain,
            ends=ends,
        )
        one.following = next(one.passes, None)
        if last:
            self._choose([one], *last)
        return one

    @torch.inference_mode()
    def advance(self, one: Running) -> None:
        """Store the pass that was just read for other requests, and prepare the next.

        Raises InputError, ModelError.
        """
        one.following = next(one.passes, None)
        if one.cache.length in one.ends:
            count = one.ends.index(one.cache.length) + 1
            start = one.ends[count - 2] if count > 1 else 0
            last = one.last if one.following is None else None
            self.store.keep(one.chain[:count], one.cache, start, last)
        one.last = None

    def together(self, reading: Sequence[Running], most: int) -> list[Running]:
        """Return the first requests of `reading` whose next passes fit together in `most` rows; at least one."""
        rows = 0
        part: list[Running] = []
        for one in reading:
            assert one.following is not None
            rows += one.following.x.shape[0]
            if part and (rows > most or not self._agree_when_many):
                break
            part.append(one)
        return part

    @torch.inference_mode()
    def read(self, part: Sequence[Running]) -> None:
        """Read the next passes of several requests as one pass.

        After its last pass, a request has its first token in `newest`.
        """
        following = [one.following for one in part if one.following is not None]
        states = self._model.target.read(following)
        ends = [row for row, one in enumerate(part) if following[row].stop == len(one.prompt.ids)]
        most = self._model.target.rows.most
        for first in range(0, len(ends), most):
            rows = ends[first : first + most]
            logits, hidden = self._model.target.finish([following[row] for row in rows], states[rows])
            self._choose([part[row] for row in rows], logits, hidden)

    def _choose(self, sequences: Sequence[Running], logits: Tensor, hidden: Tensor) -> None:
        """Choose the first token of each reply; -1 if the logits contain NaN."""
        scored = [logits[row : row + 1] for row in range(len(sequences))]
        for row, one in enumerate(sequences):
            if len(one.prompt.ids) in one.ends:
                one.last = logits[row : row + 1].clone(), hidden[row : row + 1].clone()
            if not one.free:
                scored[row] = scored[row].clone() if one.reply.scores else scored[row]  # what no rule has masked
                logits[row] = one.constraint.masked(logits[row : row + 1], ())[0]
        samplings = [one.request.sampling for one in sequences]
        chooser = RowChooser(samplings, self._model.generation.suppress, self._model.target.vocab_size)
        positions = torch.tensor([len(one.prompt.ids) for one in sequences])
        chosen = chooser.choose(logits, positions)
        for row, (one, token) in enumerate(zip(sequences, chosen.tolist(), strict=True)):
            one.newest, one.hidden = [token], hidden[row : row + 1]
            if one.reply.scores:
                one.reply.scores.add(len(one.prompt.ids) - 1, scored[row], chosen[row : row + 1])

    @cached_property
    def _agree_when_many(self) -> bool:
        return agree_when_many(self._model.target, MOST_READ)

    def _features(self, span: Span) -> Tensor:
        return self._model.towers.features(span.medium, span.budget)


def first_token(one: Running) -> None:
    """Add the first token to a reply. Raises ModelError if the logits contained NaN, or the token is not allowed."""
    assert one.hidden is not None
    one.go_on(numbers(one.newest), one.hidden)
