"""The thread that drives the engine: any thread may add requests, and events come out a round at a time.

Only this thread touches the engine. A request waits in a queue of limited length. The client may cancel it at any time,
and it is removed from the engine before the next round.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, Thread
from time import perf_counter
from typing import Protocol

from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Done, Event
from gemma_cli.core.messages import Request
from gemma_cli.core.scheduling import Answered, Scheduler, Scheduling
from gemma_cli.serve.api.errors import ApiError, api_error, unavailable

Item = Event | ApiError
"""An item that a job delivers: an event (Done is the last), or the error that ends it."""


@dataclass(eq=False)
class Job:
    """A request and the receiver of its items. first_s: seconds until the first event, or None before it."""

    request: Request
    deliver: Callable[[Sequence[Item]], None]
    submitted: float = field(default_factory=perf_counter)
    first_s: float | None = None
    key: int = -1


class TakingTurns:
    """A scheduler for any engine: up to `most` replies take turns, a round each.

    Each reply has its own drafts and cache, so its text is the same as alone. Requests join and leave between rounds;
    the next in the queue starts when one ends.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine, self._most = engine, most
        self._line: deque[tuple[int, Request]] = deque()
        self._running: dict[int, Generator[Event, None, None]] = {}

    @property
    def busy(self) -> bool:
        """See Scheduler.busy."""
        return bool(self._line or self._running)

    @property
    def waiting(self) -> Collection[int]:
        """See Scheduler.waiting."""
        return [key for key, _ in self._line]

    def add(self, key: int, request: Request) -> None:
        """See Scheduler.add."""
        self._line.append((key, request))

    def remove(self, key: int) -> None:
        """See Scheduler.remove."""
        self._line = deque(one for one in self._line if one[0] != key)
        self._end(key)

    def step(self) -> Sequence[Answered]:
        """See Scheduler.step."""
        if self._line and len(self._running) < self._most:
            key, request = self._line.popleft()
            self._running[key] = self._engine.stream(request)
            return []  # whoever asks for `waiting` sees that it has begun, before its prompt is read
        return [(key, self._turn(key)) for key in list(self._running)]

    def _turn(self, key: int) -> Event | GemmaError:
        """The next event of a reply."""
        try:
            event = next(self._running[key])
        except GemmaError as error:
            self._end(key)
            error.__traceback__ = error.__cause__ = error.__context__ = None  # whose frames hold a cache
            return error
        except Exception as error:  # a bug, which ends this reply and no other
            self._end(key)
            return GemmaError(f"internal error: {type(error).__name__}: {error}")
        if isinstance(event, Done):
            self._end(key)
        return event

    def _end(self, key: int) -> None:
        if events := self._running.pop(key, None):
            events.close()


def scheduler_of(engine: Engine, most: int, prefix_bytes: int) -> Scheduler:
    """The engine's own scheduler, which answers requests together, or one in which they take turns."""
    own = engine.scheduler(most, prefix_bytes) if isinstance(engine, Scheduling) else None
    return own or TakingTurns(engine, most)


class Observer(Protocol):
    """An observer that gets the worker's figures."""

    def event(self, job: Job, item: Item) -> None:
        """See one item of a job, before it is delivered."""
        ...


class Worker:
    """Owns the scheduler's thread. most_waiting: requests that may wait; more are refused."""

    def __init__(self, scheduler: Scheduler, most_waiting: int, observer: Observer) -> None:
        self._scheduler, self._most, self._observer = scheduler, most_waiting, observer
        self._changed = Condition()
        self._actions: deque[Callable[[], None]] = deque()
        self._keys = count()
        self._jobs: dict[int, Job] = {}
        self._line: set[int] = set()  # jobs that have not begun
        self._entered: set[int] = set()  # those of them that the scheduler has
        self._draining = self._ending = False
        self._thread = Thread(target=self._run, name="gemma-engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Return the number of running requests."""
        return len(self._jobs) - len(self._line)

    @property
    def waiting(self) -> int:
        """Return the number of waiting requests."""
        return len(self._line)

    def admit(self) -> None:
        """Raise ApiError where no further request is taken in: 429 for a full line, 503 at the end."""
        if self._draining:
            raise unavailable("the server is shutting down")
        if self.waiting >= self._most + (not self.running):
            wait = str(max(1, self.waiting // 4))
            raise ApiError(
                429,
                f"{self.waiting} requests are waiting, and the queue is full: try again in {wait} s",
                "rate_limit_error",
                headers={"retry-after": wait},
            )

    def submit(self, request: Request, deliver: Callable[[Sequence[Item]], None], *, admitted: bool = False) -> Job:
        """Put a request into the line. admitted: `admit` was asked before, for all of several. Raises ApiError."""
        job = Job(request, deliver)
        with self._changed:
            if not admitted:
                self.admit()
            job.key = next(self._keys)
            self._jobs[job.key] = job
            self._line.add(job.key)
            self._actions.append(lambda: self._add(job))
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Take a request back; it delivers nothing from now on. Has no effect on one that has ended."""
        with self._changed:
            if self._jobs.pop(job.key, None) is not None:
                self._line.discard(job.key)
                self._actions.append(lambda: self._scheduler.remove(job.key))
                self._changed.notify()

    def between_rounds(self, act: Callable[[], None]) -> None:
        """Have something done in the engine's thread; `act` raises nothing."""
        with self._changed:
            self._actions.append(act)
            self._changed.notify()

    def drain(self) -> None:
        """Refuse new and waiting requests; let running ones finish."""
        with self._changed:
            self._draining = True
            waiting = [self._jobs[key] for key in self._line]
        for job in waiting:
            self.cancel(job)
            job.deliver([unavailable("the server is shutting down")])

    def close(self) -> None:
        """Drop every request and end the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._actions or self._scheduler.busy or self._ending):
                    self._changed.wait()
                if self._ending:
                    return
                actions, self._actions = self._actions, deque()
            for act in actions:
                act()
            if self._scheduler.busy:
                self._round()
            with self._changed:
                begun = self._entered - set(self._scheduler.waiting)
                self._entered -= begun
                self._line -= begun

    def _add(self, job: Job) -> None:
        self._scheduler.add(job.key, job.request)
        self._entered.add(job.key)

    def _round(self) -> None:
        try:
            answered = self._scheduler.step()
        except Exception as error:  # a bug: running requests get the error, and the server continues
            failed = ApiError(500, f"internal error: {type(error).__name__}: {error}", "server_error")
            for key in [key for key in self._jobs if key not in self._line]:
                self._deliver(key, [failed])
                self._scheduler.remove(key)
            return
        items: dict[int, list[Item]] = {}
        for key, event in answered:
            items.setdefault(key, []).append(api_error(event) if isinstance(event, GemmaError) else event)
        for key, several in items.items():
            self._deliver(key, several)

    def _deliver(self, key: int, items: list[Item]) -> None:
        with self._changed:
            job = self._jobs.get(key)
            if job is None:  # taken back meanwhile
                return
            self._line.discard(key)
            if isinstance(items[-1], (Done, ApiError)):
                del self._jobs[key]
        if job.first_s is None:
            job.first_s = perf_counter() - job.submitted
        for item in items:
            self._observer.event(job, item)
        job.deliver(items)
