"""Continuous batching: which requests are waiting, reading and running, and what each step does for them.

    waiting    requests in the order in which they arrived
    reading    requests whose prompts are read, pass by pass, between the rounds of running requests
    running    requests that get their tokens from shared rounds

A step admits waiting requests while there are places, reads some passes of prompts, and runs a round. Requests join and
leave between steps. Each reply is bit for bit the one that the request gets alone (rounds.py), so decisions here, even
those that depend on time, affect only speed.
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
"""Rows of the widest target pass that is tried: in wider passes the cost of a row no longer falls."""

CACHES = 512 << 20
"""Bytes of keys and values of all requests in progress; a single request may exceed it."""

PREFIXES = 256 << 20
"""Bytes of the shared prefix cache."""

PAUSE_S = 0.05
"""Seconds of a step in which new requests may start while replies are running."""


class Model(prompts.Model, Protocol):
    """The part of an engine that the scheduler uses."""

    kept: SavedDraftLength
    tokenizer: Tokenizer

    def out_of_memory(self, error: BaseException) -> OutOfMemory:
        """Free all caches, and return the error to report."""
        ...


class BatchScheduler:
    """Answers up to `most` requests at once, in shared passes: a core.scheduling.Scheduler."""

    def __init__(self, model: Model, most: int, *, prefix_bytes: int = PREFIXES) -> None:
        self._model, self._most = model, most
        self._reader = PromptReader(model, PrefixStore(prefix_bytes))
        self._waiting: deque[tuple[int, Request]] = deque()
        self._written: tuple[int, Prompt] | None = None  # of the first waiting request, if it lacks memory
        self._reading: deque[Sequence] = deque()
        self._running: deque[Sequence] = deque()

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or in progress."""
        return bool(self._waiting or self.under_way)

    @property
    def waiting(self) -> Collection[int]:
        """Keys of the requests that have not started."""
        return [key for key, _ in self._waiting]

    @property
    def under_way(self) -> int:
        """Number of requests that have started and not ended."""
        return len(self._reading) + len(self._running)

    def add(self, key: int, request: Request) -> None:
        """Add a request; its answers carry `key`."""
        self._waiting.append((key, request))

    def remove(self, key: int) -> None:
        """Remove a request in any state."""
        self._waiting = deque(one for one in self._waiting if one[0] != key)
        self._reading = deque(one for one in self._reading if one.key != key)
        self._running = deque(one for one in self._running if one.key != key)

    def step(self) -> list[Answered]:
        """Admit, read, and run a round; return the resulting events. A request ends with Done or an error."""
        beside = bool(self._running)
        due = perf_counter() + (PAUSE_S if beside else inf)
        return [*self._take(due), *self._read(READ_BESIDE if beside else MOST_READ), *self._round()]

    def _take(self, due: float) -> list[Answered]:
        """Start waiting requests, until the time `due`."""
        if not self._running:  # no running reply has to wait
            self._listen()
        answers: list[Answered] = []
        while self._waiting and self.under_way < self._most and perf_counter() < due:
            key, request = self._waiting[0]
            found = self._tried(lambda key=key, request=request: self._begun(key, request))  # type: ignore[misc]
            if found is None:  # no memory for it yet
                break
            self._waiting.popleft()
            answers += self._goes_on(found) if isinstance(found, Sequence) else [(key, found)]
        return answers

    def _goes_on(self, one: Sequence) -> list[Answered]:
        """Queue the next pass of a prompt; if the prompt is read, start the reply."""
        if one.following:
            self._reading.append(one)
            return []
        if error := self._tried(lambda: first_token(one)):
            return [(one.key, error)]
        return self._told(one)

    def _listen(self) -> None:
        """Encode the sounds of all requests that are about to start in one batch, which is faster."""
        coming = [request for _, request in self._waiting][: self._most - self.under_way]
        parts = [part for request in coming for message in request.messages for part in message.parts]
        sounds = [part for part in parts if isinstance(part, Audio)]
        if len(sounds) > 1:
            self._tried(lambda: self._model.towers.listen(sounds))  # an error is raised again when that request is read

    def _begun(self, key: int, request: Request) -> Sequence | None:
        """Start a request; return None if there is no memory for it next to the others."""
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
        """Read the next pass of the requests that have waited longest; start the replies of those that are read."""
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
        """Handle a failed pass over prompts. Out of memory ends the newest request and restarts the others."""
        ending = part[-1:] if isinstance(error, OutOfMemory) else part
        again = [one for one in part if one not in ending]
        self._waiting.extendleft((one.key, one.request) for one in reversed(again))
        return [(one.key, error) for one in ending]

    def _round(self) -> list[Answered]:
        """Generate the next tokens of every reply, in as many passes as needed."""
        answers: list[Answered] = []
        waiting = list(self._running)
        while waiting:
            part, waiting = waiting[: self._rounds.widest], waiting[self._rounds.widest :]
            drafts = self._tried(lambda part=part: self._rounds.run(part))  # type: ignore[misc]
            if isinstance(drafts, GemmaError):
                for one in part[-1:] if isinstance(drafts, OutOfMemory) else part:  # its memory is freed
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
        """Return the events of a reply's newest tokens, and keep it running unless they end it.

        round_: the round that generated them.
        """
        model, stop = self._model, self._model.generation.stop
        events = one.events(round_)
        if not one.ended(stop):
            self._running.append(one)
        else:
            log, scores = one.cache.log, one.reply.scores
            if aligned := alignment(log, scores, one.prompt, one.tokens, stop, model.tokenizer, model.calibration):
                events.append(aligned)
            events += one.last_events()
            if one.request.drafting.adaptive:
                model.kept.replied()
        return [(one.key, event) for event in events]

    def _tried(self, action: Callable[[], Result]) -> Result | GemmaError:
        """Run an action; return its result, or its error without frames, which would keep tensors alive."""
        try:
            return action()
        except GemmaError as error:
            if isinstance(error, ModelError):
                self._reader.store.forget()  # NaN would reach later replies through masks
            error.__traceback__ = error.__cause__ = error.__context__ = None
            return error
        except Exception as error:
            if is_out_of_memory(error):
                self._reader.store.forget()
                return self._model.out_of_memory(error)
            return GemmaError(f"internal error: {type(error).__name__}: {error}")  # a bug

    def _bytes(self, length: int) -> int:
        """Return the bytes of keys and values of a request with so many positions."""
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
