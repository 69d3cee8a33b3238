"""WarmEngine: a model in another process of this user, which gives the events that it would give in this one.

Where that process goes away, the model is loaded here after all and goes on where the other one stopped: the same seed
gives the same text, so nothing is lost or shown twice.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from gemma_cli.core import errors
from gemma_cli.core.engine import Answered, Counting, Engine, EngineInfo, EngineSpec, stream_many
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.events import Done, Event
from gemma_cli.core.messages import Request
from gemma_cli.engines.continued import Given
from gemma_cli.engines.warm import place, wire

AT_ONCE = 8
"""Requests of a batch that are under way."""

_SILENT_S = 5.0
"""Seconds within which a server says what it holds."""

Loader = Callable[[str], Engine]
"""Loads the model in this process; is given why."""


class WarmEngine:
    """A model that a server holds. Answers one command at a time."""

    def __init__(self, path: Path, held: place.Held, info: EngineInfo, connection: socket.socket, load: Loader) -> None:
        self.info = info
        self._path, self._held, self._load = path, held, load
        self._connection: socket.socket | None = connection
        self._here: Engine | None = None
        self._numbers = count()

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """See core.engine.Engine.stream."""
        with closing(self._answers([request])) as answers:
            for _, answer in answers:
                if isinstance(answer, GemmaError):
                    raise answer
                yield answer

    def stream_many(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        """See core.engine.Batching."""
        with closing(self._answers(requests)) as answers:
            for index, answer in answers:
                if isinstance(answer, GemmaError) and not isinstance(answer, InputError):
                    raise answer
                yield index, answer

    def prompt_tokens(self, request: Request) -> int:
        """See core.engine.Counting."""
        if not self._here:
            try:
                connection = self._connected()
                wire.write(connection, {"count": request})
                answer = wire.read(connection)
                if "error" in answer:
                    raise _error(answer)
                return int(answer["tokens"])
            except (wire.Broken, _Busy) as lost:
                self._loaded(str(lost))
            except BaseException:  # an answer may still come
                self._disconnect()
                raise
        assert isinstance(self._here, Counting)
        return self._here.prompt_tokens(request)

    def _answers(self, requests: Iterable[Request]) -> Generator[tuple[int, Event | GemmaError], None, None]:
        """The replies to all requests, `AT_ONCE` under way; those that the server does not finish come from here."""
        waiting = enumerate(requests)
        unfinished: dict[int, tuple[Request, Given]] = {}
        if not self._here:
            try:
                yield from self._served(waiting, unfinished)
                return
            except (wire.Broken, _Busy) as lost:
                self._loaded(str(lost))
                for _, given in unfinished.values():
                    given.again(str(lost))
            finally:
                if unfinished:  # answers that nobody waits for would still come
                    self._disconnect()
        assert self._here
        yield from _resumed(self._here, unfinished, waiting)

    def _served(
        self, waiting: Iterator[tuple[int, Request]], unfinished: dict[int, tuple[Request, Given]]
    ) -> Iterator[tuple[int, Event | GemmaError]]:
        """The replies as the server gives them. Raises Broken, _Busy."""
        indexes: dict[int, int] = {}
        while True:
            while len(unfinished) < AT_ONCE and (following := next(waiting, None)):
                index, request = following
                unfinished[index] = request, Given()
                number = next(self._numbers)
                indexes[number] = index
                wire.write(self._connected(), {"ask": request, "number": number})
            if not unfinished:
                return
            answer = wire.read(self._connected())
            index = indexes[answer["number"]]
            if "error" in answer:
                error = _error(answer)
                del unfinished[index]
                yield index, error
                continue
            given = unfinished[index][1]
            for event in answer["events"]:
                if isinstance(event, Done):
                    del unfinished[index]
                for new in given.new(event):
                    yield index, new

    def _connected(self) -> socket.socket:
        """The connection; a new one where the last was given up. Raises Broken."""
        if self._connection is None:
            found = connect(self._path, self._held)
            if found is None:
                raise wire.Broken("it has ended")
            self._connection = found[0]
        return self._connection

    def close(self) -> None:
        """Let the server go."""
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _loaded(self, why: str) -> None:
        self._disconnect()
        self._here = self._load(why)


class _Busy(Exception):
    """The server takes in nothing now."""


def find(spec: EngineSpec, load: Loader) -> WarmEngine | None:
    """Return the model that `spec` asks for, where a server of this user holds it; None where none does.

    load: loads it here, where the server goes away.
    """
    began = perf_counter()
    paths = place.sockets()
    if not paths or not (asked := place.asked_for(spec)):
        return None
    held, resolved = asked
    for path in paths:
        if found := connect(path, held):
            connection, info = found
            notice = "; ".join(filter(None, (resolved.notice, info.notice))) or None
            info = replace(info, notice=notice, load_s=perf_counter() - began)
            return WarmEngine(path, held, info, connection, load)
    return None


def connect(path: Path, held: place.Held) -> tuple[socket.socket, EngineInfo] | None:
    """Return a connection to a server that holds `held`, and what runs there; None where it does not."""
    connection = dial(path)
    if connection is None:
        return None
    try:
        wire.write(connection, {"holds": dict(held)})
        answer = wire.read(connection)
        if isinstance(info := answer.get("info"), EngineInfo):
            connection.settimeout(None)
            return connection, info
    except (wire.Broken, AttributeError):
        pass
    connection.close()
    return None


def dial(path: Path) -> socket.socket | None:
    """Return a connection to whatever listens there; None where nothing does."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_SILENT_S)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection


def _resumed(
    engine: Engine, unfinished: Mapping[int, tuple[Request, Given]], waiting: Iterator[tuple[int, Request]]
) -> Iterator[tuple[int, Event | GemmaError]]:
    """The replies that were not finished, without what was given of them, and those that were not begun."""
    if len(unfinished) == 1:  # whoever asks for one reply gets its events one by one
        ((index, (request, given)),) = unfinished.items()
        unfinished = {}
        try:
            with closing(engine.stream(request)) as events:
                for event in events:
                    for new in given.new(event):
                        yield index, new
        except InputError as error:
            yield index, error
    left: list[tuple[int, Given]] = []

    def requests() -> Iterator[Request]:
        for index, (request, given) in unfinished.items():
            left.append((index, given))
            yield request
        for index, request in waiting:
            left.append((index, Given()))
            yield request

    for number, answer in stream_many(engine, requests()):
        index, given = left[number]
        if isinstance(answer, InputError):
            yield index, answer
        else:
            yield from ((index, new) for new in given.new(answer))


def _error(answer: Mapping[str, Any]) -> GemmaError:
    """The error that a server answers with. Raises _Busy for one that only says that it cannot answer now."""
    kind = getattr(errors, str(answer["error"]), None)
    if kind is None:
        raise _Busy(str(answer["message"]))
    error: GemmaError = kind(answer["message"])
    return error
