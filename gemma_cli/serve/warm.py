"""The server's side of a warm model: commands of the same user ask it over a socket in a private folder.

They get the engine's own events. Their requests stand in the same line as those that come over HTTP.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from gemma_cli.core import errors
from gemma_cli.core.engine import Counting, Engine, EngineInfo
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Done
from gemma_cli.core.messages import Request
from gemma_cli.engines.warm import place, wire
from gemma_cli.serve.api.errors import ApiError
from gemma_cli.serve.worker import Item, Job, Worker
from gemma_cli.store.models.checkpoints import Resolved

BUSY = "busy"
"""Stands for an error that says nothing about the request: the server is full, or ends."""


@contextmanager
def opened_to_commands(
    worker: Worker, engine: Engine, asked: tuple[place.Held, Resolved] | None
) -> Iterator[WarmDoor | None]:
    """Let commands of this user ask, until the end; None where no folder is safe, or the model is no checkpoint.

    asked: what place.asked_for found before the model was loaded.
    """
    folder = place.made()
    if asked is None or folder is None:
        yield None
        return
    held, resolved = asked
    door = WarmDoor(worker, engine, held, resolved.notice)
    with door.opened(folder):
        yield door


class WarmDoor:
    """Answers commands. held: the model, as place.asked_for names it; notice: how it was chosen."""

    def __init__(self, worker: Worker, engine: Engine, held: place.Held, notice: str | None) -> None:
        self._worker, self._engine, self._held = worker, engine, held
        self._info = _without(engine.info, notice)
        self.connections = 0

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Path]:
        """Listen at a socket of this process in `folder`, until the end. Raises OSError."""
        path = folder / f"{os.getpid()}.sock"
        path.unlink(missing_ok=True)  # of a process that died and had the same number
        with socket.socket(socket.AF_UNIX) as listening:
            before = os.umask(0o177)
            try:
                listening.bind(str(path))
            finally:
                os.umask(before)
            listening.listen(64)
            threading.Thread(target=self._accept, args=(listening,), name="gemma-warm", daemon=True).start()
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._talk, args=(connection,), name="gemma-command", daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        self.connections += 1
        with connection, suppress(wire.Broken):
            try:
                self._greet(connection)
            finally:
                self.connections -= 1

    def _greet(self, connection: socket.socket) -> None:
        """Answer what a connection begins with: whether the model is here, who is here, or an order to end."""
        first = wire.read(connection)
        if not isinstance(first, dict):
            return
        if first == {"stop": True}:
            wire.write(connection, {"pid": os.getpid(), "model": self._held["model"]})
            os.kill(os.getpid(), signal.SIGTERM)
            wire.read(connection)  # whoever asks sees the connection break when this process has ended
        elif first == {"who": True}:
            wire.write(connection, {"pid": os.getpid(), "model": self._held["model"]})
        elif first.get("holds") == self._held:
            wire.write(connection, {"info": self._info})
            Command(connection, self._worker, self._engine).serve()
        else:
            wire.write(connection, {"differs": True})


class Command:
    """One connection: what is asked over it is answered, several requests at once."""

    def __init__(self, connection: socket.socket, worker: Worker, engine: Engine) -> None:
        self._connection, self._worker, self._engine = connection, worker, engine
        self._answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._ended: set[int] = set()

    def serve(self) -> None:
        """Answer until the command goes away."""
        writer = threading.Thread(target=self._write, name="gemma-answers", daemon=True)
        writer.start()
        try:
            while True:
                asked = wire.read(self._connection)
                if "count" in asked:
                    self._count(asked["count"])
                else:
                    self._ask(asked["ask"], asked["number"])
        except (wire.Broken, TypeError, KeyError):
            pass
        finally:
            for job in self._jobs.values():
                self._worker.cancel(job)
            self._answers.put(None)
            with suppress(OSError):  # a command that reads nothing would keep the writer waiting
                self._connection.shutdown(socket.SHUT_RDWR)
            writer.join()

    def _ask(self, request: Request, number: int) -> None:
        def deliver(items: Sequence[Item]) -> None:
            events = [item for item in items if not isinstance(item, ApiError)]
            if events:
                self._answers.put({"number": number, "events": events})
            for item in items:
                if isinstance(item, ApiError):
                    self._answers.put({"number": number, **_error(item)})
            if isinstance(items[-1], Done | ApiError):
                self._ended.add(number)

        for ended in self._ended & self._jobs.keys():  # they hold pictures and sounds
            del self._jobs[ended]
        try:
            self._jobs[number] = self._worker.submit(request, deliver)
        except ApiError as error:
            self._answers.put({"number": number, **_error(error)})

    def _count(self, request: Request) -> None:
        def act() -> None:
            assert isinstance(self._engine, Counting)
            try:
                self._answers.put({"tokens": self._engine.prompt_tokens(request)})
            except GemmaError as error:
                self._answers.put({"error": _kind(error), "message": str(error)})
            except Exception as error:  # a bug, which is to end no other request
                self._answers.put({"error": "GemmaError", "message": f"internal error: {type(error).__name__}"})

        self._worker.between_rounds(act)

    def _write(self) -> None:
        with suppress(wire.Broken):
            while answer := self._answers.get():
                wire.write(self._connection, answer)
        with suppress(OSError):  # nobody reads: what is still asked is dropped
            self._connection.shutdown(socket.SHUT_RDWR)


def _error(error: ApiError) -> dict[str, str]:
    """An error of the engine as itself; one of the server's own as `BUSY`."""
    if (cause := error.cause) is None:
        return {"error": BUSY, "message": error.message}
    return {"error": _kind(cause), "message": str(cause)}


def _kind(error: GemmaError) -> str:
    """The class of `core.errors` that an error is one of: the most special."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def _without(info: EngineInfo, notice: str | None) -> EngineInfo:
    """`info` without how the model was chosen: a command tells that of itself."""
    told = (info.notice or "").removeprefix(notice or "").removeprefix("; ")
    return replace(info, notice=told or None)
