"""Random orders of calls to engines, each text compared with what a fresh engine gives.

A call is begun, taken on by some of its events, left suspended, closed, dropped, continued to its end, failed by an
operation that finds no memory, or interrupted, while others are suspended on the same engine and on another.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

import numpy as np
import pytest
import torch

from gemma_cli.core.engine import Answered
from gemma_cli.core.errors import InputError, OutOfMemory
from gemma_cli.core.events import Event, Turn, collect
from gemma_cli.core.json_schema import checked
from gemma_cli.core.messages import GREEDY, Audio, Drafting, Image, Message, Request, Sampling, Text, ask
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.model.cache import Cache
from tests.engines.helpers.faults import OutOfMemoryAt, interrupted_at

MOST_OPEN = 3
"""Calls that are suspended at once."""

Expected = Mapping[Request, Turn | InputError]
"""To each request the reply of an engine that has answered nothing before."""


def requests(size: int, seed: int = 0) -> list[Request]:
    """Requests of every kind; each of several is asked by other sampling too."""
    random, noise = Random(seed), np.random.default_rng(seed)
    schema = checked('{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}', "schema")
    pictures = [
        Image(f"{seed} {name}", name, noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for name in ("one", "two")
    ]
    sounds = [
        Audio(f"{seed} {size}", f"{size}.wav", noise.normal(0, 0.1, size).astype(np.float32)) for size in (9000, 100)
    ]
    long = ask("The lamp is on the table and the cat is in the garden. " * random.randint(8, 20))
    chat = (*long, Message("assistant", (Text("I see."),), thinking="Hm."), *ask("And where is the dog?"))
    kinds = [
        *(ask("hello, who are you?"), ask("What is 12 + 30?", system="Be brief."), long, chat),
        *(ask(pictures[0], "What is in it?"), ask("Write down:", sounds[0]), ask(pictures[1], "What is in it?")),
        ask("Translate the following text into German. Only output the translation.\n\nred a lamp cat cat one box."),
        ask("Write down:", sounds[1]),  # too short to be read
    ]
    samplings = [GREEDY, Sampling(seed=random.randrange(99)), Sampling(1.5, top_k=0, top_p=1.0, seed=3)]
    made = [
        Request(kinds[i % len(kinds)], replace(random.choice(samplings), max_tokens=random.randint(1, 24)))
        for i in range(size)
    ]
    for index in random.sample(range(size), size // 4):
        made[index] = replace(made[index], schema=schema)
    for index in random.sample(range(size), size // 4):
        made[index] = replace(made[index], thinking=True, thinking_budget=random.choice([None, 6]))
    return made


def reply(engine: LocalEngine, request: Request) -> Turn | InputError:
    """The reply of one engine to one request, plain."""
    try:
        return collect(engine.stream(replace(request, drafting=Drafting(0))))
    except InputError as error:
        return error


def anew(engine: LocalEngine) -> LocalEngine:
    """An engine over the same weights that has answered nothing."""
    towers = type(engine.towers)(engine.towers.folder, engine.towers.config, engine.target.device, engine.target.dtype)
    return LocalEngine(engine.target, engine.drafter, engine.tokenizer, towers, engine.generation, engine.info)


@dataclass(eq=False)
class _Call:
    """A call under way. events: what it gave, by request."""

    engine: LocalEngine
    asked: list[Request]
    answers: Generator[Answered, None, None]
    events: list[list[Event]]
    errors: dict[int, InputError] = field(default_factory=dict)


class Orders:
    """One random order, the same for the same seed. failures: a line for each text that differs; log: what was done."""

    def __init__(self, engines: Sequence[LocalEngine], asked: Sequence[Request], expected: Expected, seed: int) -> None:
        self.engines, self.asked, self.expected = engines, asked, expected
        self.random = Random(seed)
        self.log: list[str] = []
        self.failures: list[str] = []
        self.texts = self.ended = 0
        self._open: list[_Call] = []
        self._caches: list[weakref.ref[Cache]] = []
        self._last = asked[0]

    def run(self, steps: int) -> None:
        """Take so many steps, then end what is still open."""
        with self._counted():
            for _ in range(steps):
                self._step()
            while self._open:
                self._on(self._open.pop())
                self._check_memory()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Every cache made is known, and none may be left to the garbage collector."""
        for engine in self.engines:
            engine.live.forget()
        gc.collect()
        made = Cache.__init__
        caches = self._caches

        def noted(cache: Cache, *arguments: object, **options: object) -> None:
            made(cache, *arguments, **options)  # type: ignore[arg-type]
            caches.append(weakref.ref(cache))

        gc.disable()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Cache, "__init__", noted)
                yield
        finally:
            gc.enable()

    def _step(self) -> None:
        if self._open and (len(self._open) >= MOST_OPEN or self.random.random() < 0.4):
            call = self._open.pop(self.random.randrange(len(self._open)))
            if self.random.random() < 0.3:
                self._close(call)
                self._check_memory()
                return
        else:
            call = self._begun()
        match self.random.choices(("end", "some", "memory", "interrupt"), (4, 4, 2, 2))[0]:
            case "end":
                self._on(call)
            case "some":
                if self._on(call, self.random.choice([0, 1, 2, 3, 7, 20])):
                    self._open.append(call)
            case kind:
                self._fail(call, kind)
        self._check_memory()

    def _begun(self) -> _Call:
        engine = self.random.choice(self.engines)
        if self.random.random() < 0.6:
            asked = [self._drawn()]
            answers = _one(engine, asked[0])
        else:
            asked = [self._drawn() for _ in range(self.random.choice([1, 2, 3, 5, 9]))]
            answers = engine.stream_many(self._handed_over(engine, asked))
        kind = "stream" if len(asked) == 1 else f"stream_many of {len(asked)}"
        self._note(f"{kind} on engine {self.engines.index(engine)}: {[self.asked.index(plain(r)) for r in asked]}")
        return _Call(engine, asked, answers, [[] for _ in asked])

    def _handed_over(self, engine: LocalEngine, asked: Sequence[Request]) -> Iterator[Request]:
        """The requests of a batch; whoever hands them over asks something else in between, now and then."""
        for request in asked:
            if self.random.random() < 0.1:
                between = self._drawn()
                self._note(f"asked in between: {self.asked.index(plain(between))}")
                self._compare(between, reply(engine, between))
            yield request

    def _drawn(self) -> Request:
        """Often the last one again, with another draft length."""
        if self.random.random() > 0.35:
            self._last = self.random.choice(self.asked)
        drafting = Drafting(self.random.randint(0, 8), adaptive=self.random.random() < 0.3)
        return replace(self._last, drafting=drafting)

    def _on(self, call: _Call, events: int | None = None) -> bool:
        """Take a call on by so many events, or to its end; True where it has not ended. The caller may be in inference
        mode, and finds itself in the mode it was in."""
        outside = self.random.random() < 0.8
        self._note(f"  on by {'all' if events is None else events}{'' if outside else ' in inference mode'}")
        with nullcontext() if outside else torch.inference_mode():
            going = self._taken(call, events)
            if torch.is_inference_mode_enabled() is outside:
                self.failures.append(self._told("another mode than before"))
        if not going:
            self._end(call)
        return going

    def _taken(self, call: _Call, events: int | None) -> bool:
        for _ in count() if events is None else range(events):
            try:
                self._take(call, *next(call.answers))
            except StopIteration:
                return False
            except InputError as error:  # of a single request
                call.errors[0] = error
                return False
        return True

    def _take(self, call: _Call, index: int, event: Event | InputError) -> None:
        if isinstance(event, InputError):
            call.errors[index] = event
        else:
            call.events[index].append(event)

    def _end(self, call: _Call) -> None:
        """All replies are there: compare them."""
        self.ended += 1
        for index, (request, events) in enumerate(zip(call.asked, call.events, strict=True)):
            self._compare(request, call.errors.get(index) or collect(events))

    def _close(self, call: _Call) -> None:
        drop = self.random.random() < 0.3
        self._note("  dropped" if drop else "  closed")
        if drop:
            call.answers = _one(call.engine, call.asked[0])  # never begun
        else:
            call.answers.close()
        self._broken_off(call)

    def _fail(self, call: _Call, kind: str) -> None:
        """Let a call fail somewhere, or end before it does."""
        point = int(10 ** self.random.uniform(0, 3.3 if kind == "memory" else 5))
        self._note(f"  {kind} at {point}")
        fault = OutOfMemoryAt(point, self.random.randrange(3)) if kind == "memory" else interrupted_at(point)
        try:
            with fault:
                for index, event in call.answers:
                    self._take(call, index, event)
        except InputError as refused:
            call.errors[0] = refused
        except (OutOfMemory, KeyboardInterrupt) as raised:
            if isinstance(raised, OutOfMemory) is not (kind == "memory"):
                self.failures.append(self._told(f"{kind} raised {raised!r}"))
            call.answers.close()
            self._broken_off(call)
            if kind == "memory" and call.engine.live.cache is not None:
                self.failures.append(self._told("the cache is still there after out of memory"))
            return
        self._end(call)

    def _broken_off(self, call: _Call) -> None:
        """What was shown of replies that have not ended is how they begin."""
        for request, events in zip(call.asked, call.events, strict=True):
            part, whole = collect(events), self.expected[plain(request)]
            if isinstance(whole, InputError):
                right = not events
            else:
                right = whole.text.startswith(part.text) and whole.thinking.startswith(part.thinking)
            if not right:
                self.failures.append(self._told(f"{self.asked.index(plain(request))} begins {part}, not {whole}"))

    def _compare(self, request: Request, found: Turn | InputError) -> None:
        self.texts += 1
        wanted = self.expected[plain(request)]
        if _facts(found) != _facts(wanted):
            number = self.asked.index(plain(request))
            self.failures.append(self._told(f"{number} gives {_facts(found)}, alone {_facts(wanted)}"))

    def _check_memory(self) -> None:
        """No cache is alive but each engine's own and those of calls that are suspended."""
        alive = [cache for one in self._caches if (cache := one())]
        self._caches[:] = [weakref.ref(cache) for cache in alive]
        own = [engine.live.cache for engine in self.engines if engine.live.cache]
        most = len(own) + sum(16 if len(call.asked) > 1 else 1 for call in self._open)
        if len(alive) > most:
            self.failures.append(self._told(f"{len(alive)} caches are alive, {most} at most are in use"))

    def _note(self, line: str) -> None:
        self.log.append(line)

    def _told(self, failure: str) -> str:
        return "\n".join([*self.log[-12:], failure])


def plain(request: Request) -> Request:
    """The request as it stands in the list of them."""
    return replace(request, drafting=Drafting())


def _one(engine: LocalEngine, request: Request) -> Generator[Answered, None, None]:
    with closing(engine.stream(request)) as events:
        for event in events:
            yield 0, event


def _facts(turn: Turn | InputError) -> object:
    if isinstance(turn, InputError):
        return str(turn)
    return turn.text, turn.thinking, turn.tool_calls, turn.finish_reason, turn.usage
