"""Which requests are under way, and what each step does for them.

    waiting    in the order they came
    reading    their prompts are read, pass by pass, between the rounds of those that run
    running    each gets its tokens from the round that all of them share

A step takes in who waits while there are places, reads some passes of prompts, and does a round. Requests join and
leave between steps. What a reply says is what it says alone, bit for bit (rounds.py), so what is decided here, even by
the clock, decides about speed alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from functools import cached_property
from math import inf
from time import perf_counter
from typing import Protocol, TypeVar

from gemma_cli.core.errors import GemmaError, ModelError, OutOfMemory
from gemma_cli.core.events import Round
from gemma_cli.core.messages import Audio, Request
from gemma_cli.core.scheduling import Answered
from gemma_cli.engines.local.alignment import alignment
from gemma_cli.engines.local.decoding.draft_length_file import SavedDraftLength
from gemma_cli.engines.local.device import is_out_of_memory
from gemma_cli.engines.local.loading.batch_invariance import widest_pass
from gemma_cli.engines.local.scheduling import prompts
from gemma_cli.engines.local.scheduling.prefix_store import PrefixStore
from gemma_cli.engines.local.scheduling.prompts import MOST_READ, READ_BESIDE, PromptReader, first_token
from gemma_cli.engines.local.scheduling.rounds import Draft, Rounds
from gemma_cli.engines.local.scheduling.sequence import Sequence
from gemma_cli.engines.local.text.prompt import Prompt
from gemma_cli.engines.local.text.tokenizer import Tokenizer

Result = TypeVar("Result")

WIDEST = 128
"""Rows of the widest target pass that is tried: in wider ones a row costs as much."""

CACHES = 512 << 20
"""Bytes of keys and values that the requests under way may hold; one may hold more."""

PREFIXES = 256 << 20
"""Bytes of keys and values that are kept of prompts, for later ones that begin alike."""

PAUSE_S = 0.05
"""Seconds of a step in which new requests begin while replies are running; what has begun is finished."""


class Model(prompts.Model, Protocol):
    """The part of an engine that the scheduler uses."""

    kept: SavedDraftLength
    tokenizer: Tokenizer

    def out_of_memory(self, error: BaseException) -> OutOfMemory:
        """Give back all memory that can be had again, and return what to answer."""
        ...


class BatchScheduler:
    """Answers up to `most` requests at once, in shared passes: a core.scheduling.Scheduler."""

    def __init__(self, model: Model, most: int, *, prefix_bytes: int = PREFIXES) -> None:
        self._model, self._most = model, most
        self._reader = PromptReader(model, PrefixStore(prefix_bytes))
        self._waiting: deque[tuple[int, Request]] = deque()
        self._written: tuple[int, Prompt] | None = None  # of the first that waits, where it waits for memory
        self._reading: deque[Sequence] = deque()
        self._running: deque[Sequence] = deque()

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or under way."""
        return bool(self._waiting or self.under_way)

    @property
    def waiting(self) -> Collection[int]:
        """Keys of the requests that have not begun."""
        return [key for key, _ in self._waiting]

    @property
    def under_way(self) -> int:
        """How many requests have begun and not ended."""
        return len(self._reading) + len(self._running)

    def add(self, key: int, request: Request) -> None:
        """Take in a request, which is answered under `key`."""
        self._waiting.append((key, request))

    def remove(self, key: int) -> None:
        """Forget a request, whatever has become of it."""
        self._waiting = deque(one for one in self._waiting if one[0] != key)
        self._reading = deque(one for one in self._reading if one.key != key)
        self._running = deque(one for one in self._running if one.key != key)

    def step(self) -> list[Answered]:
        """Take in, read, and do a round: what came of it. A request ends with Done or an error."""
        beside = bool(self._running)
        due = perf_counter() + (PAUSE_S if beside else inf)
        return [*self._take(due), *self._read(READ_BESIDE if beside else MOST_READ), *self._round()]

    def _take(self, due: float) -> list[Answered]:
        """Give places to requests that wait, until the time `due`."""
        if not self._running:  # nobody waits meanwhile for a next token
            self._listen()
        answers: list[Answered] = []
        while self._waiting and self.under_way < self._most and perf_counter() < due:
            key, request = self._waiting[0]
            found = self._tried(lambda key=key, request=request: self._begun(key, request))  # type: ignore[misc]
            if found is None:  # there is no memory for it yet
                break
            self._waiting.popleft()
            answers += self._goes_on(found) if isinstance(found, Sequence) else [(key, found)]
        return answers

    def _goes_on(self, one: Sequence) -> list[Answered]:
        """Read on, or if there is nothing left to read, begin the reply."""
        if one.following:
            self._reading.append(one)
            return []
        if error := self._tried(lambda: first_token(one)):
            return [(one.key, error)]
        return self._told(one)

    def _listen(self) -> None:
        """Encode the sounds of all that will have places, which is faster together."""
        coming = [request for _, request in self._waiting][: self._most - self.under_way]
        parts = [part for request in coming for message in request.messages for part in message.parts]
        sounds = [part for part in parts if isinstance(part, Audio)]
        if len(sounds) > 1:
            self._tried(lambda: self._model.towers.listen(sounds))  # an error shows again where one of them is read

    def _begun(self, key: int, request: Request) -> Sequence | None:
        """The request with its prompt; None where there is no memory for it beside the others."""
        began = perf_counter()
        known = self._written if self._written and self._written[0] == key else None
        prompt = known[1] if known else self._reader.write(request)
        length = len(prompt.ids) + self._reader.room(request, prompt)
        held = [one.length for one in (*self._reading, *self._running)]
        if held and sum(map(self._bytes, (*held, length))) > CACHES:
            self._written = key, prompt
            return None
        self._written = None
        return self._reader.begin(key, request, prompt, began)

    def _read(self, most: int) -> list[Answered]:
        """Read the next pass of those that have read least lately; who has read all gets a first token."""
        part = self._reader.together(self._reading, most) if self._reading else []
        if not part:
            return []
        error = self._tried(lambda: self._reader.read(part))
        for one in part:
            self._reading.remove(one)
        if error:
            return self._broken_off(part, error)
        answers: list[Answered] = []
        for one in part:
            failed = self._tried(lambda one=one: self._reader.advance(one))  # type: ignore[misc]
            answers += [(one.key, failed)] if failed else self._goes_on(one)
        return answers

    def _broken_off(self, part: list[Sequence], error: GemmaError) -> list[Answered]:
        """A pass over prompts failed. Where memory ran out, the newest request ends and the others begin anew."""
        ending = part[-1:] if isinstance(error, OutOfMemory) else part
        again = [one for one in part if one not in ending]
        self._waiting.extendleft((one.key, one.request) for one in reversed(again))
        return [(one.key, error) for one in ending]

    def _round(self) -> list[Answered]:
        """The next tokens of every reply, in as many passes as it takes to give each a row."""
        answers: list[Answered] = []
        waiting = list(self._running)
        while waiting:
            part, waiting = waiting[: self._rounds.widest], waiting[self._rounds.widest :]
            drafts = self._tried(lambda part=part: self._rounds.run(part))  # type: ignore[misc]
            if isinstance(drafts, GemmaError):
                for one in part[-1:] if isinstance(drafts, OutOfMemory) else part:  # what a pass holds is freed
                    self._running.remove(one)
                    answers.append((one.key, drafts))
                continue
            for draft in drafts:
                answers += self._proposed(draft)
        return answers

    def _proposed(self, draft: Draft) -> list[Answered]:
        one = draft.sequence
        self._running.remove(one)
        if draft.error:
            self._reader.store.forget()
            return [(one.key, draft.error)]
        return self._told(one, draft.round)

    def _told(self, one: Sequence, round_: Round | None = None) -> list[Answered]:
        """The events of a reply's newest tokens, which come from `round_`; it goes on running unless they end it."""
        model, stop = self._model, self._model.generation.stop
        events = one.events(round_)
        if not one.ended(stop):
            self._running.append(one)
        else:
            scores = one.reply.scores
            if aligned := alignment(one.cache.log, scores, one.prompt, one.tokens, stop, model.tokenizer):
                events.append(aligned)
            events += one.last_events()
            if one.request.drafting.adaptive:
                model.kept.replied()
        return [(one.key, event) for event in events]

    def _tried(self, action: Callable[[], Result]) -> Result | GemmaError:
        """What an action returns, or the error it ends with, which holds no frames and so no memory."""
        try:
            return action()
        except GemmaError as error:
            if isinstance(error, ModelError):
                self._reader.store.forget()  # what is not a number would reach later replies through masks
            error.__traceback__ = error.__cause__ = error.__context__ = None
            return error
        except Exception as error:
            if is_out_of_memory(error):
                self._reader.store.forget()
                return self._model.out_of_memory(error)
            return GemmaError(f"internal error: {type(error).__name__}: {error}")  # a bug, for those it was done for

    def _bytes(self, length: int) -> int:
        """Of keys and values that a request of so many positions has."""
        arch = self._model.target.arch
        numbers = sum(
            2 * layer.kv_heads * layer.head_dim * (arch.window if layer.sliding else length)
            for layer in arch.layers
            if layer.owns_kv
        )
        return numbers * self._model.target.kv_dtype.itemsize

    @cached_property
    def _rounds(self) -> Rounds:
        return Rounds(self._model, widest_pass(self._model.target, WIDEST), self._model.kept.pace)
