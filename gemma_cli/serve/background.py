"""A server that stays behind when its command returns, and what ends it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gemma_cli.core.errors import GemmaError, Interrupted
from gemma_cli.serve.warm import WarmDoor
from gemma_cli.serve.worker import Item, Job, Observer, Worker


def detach(log: Path) -> Callable[[str], None]:
    """Go on in another process, in a session of its own; this one waits for it and ends with its exit code.

    The result, in the other process: call it when the server answers, with what the waiting command is to say. From
    then on what is written goes to the file `log`. Call it before there are threads. Raises GemmaError.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        _await(child, reading)
    os.close(reading)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def ready(message: str) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        with suppress(OSError):  # whoever waited has gone
            os.write(writing, message.encode())
        os.close(writing)

    return ready


def _await(child: int, reading: int) -> NoReturn:
    """Wait until the server answers or has failed, and end as it does."""
    try:
        message = b""
        while part := os.read(reading, 4096):
            message += part
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        raise Interrupted from None
    if not message:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            raise GemmaError(f"the server was ended by signal {-code}")
        raise SystemExit(code or 1)
    print(message.decode(), file=sys.stderr, flush=True)
    raise SystemExit(0)


class Activity:
    """An observer that knows how long nothing has been done; the other one it passes everything on to."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer, self._last = observer, time.monotonic()

    def event(self, job: Job, item: Item) -> None:
        """See worker.Observer.event."""
        self._last = time.monotonic()
        if self._observer:
            self._observer.event(job, item)

    def end_when_idle(self, seconds: float, worker: Worker, door: WarmDoor | None) -> None:
        """End this process, as SIGTERM does, after so many seconds without a request or a connected command."""

        def watch() -> None:
            while time.monotonic() - self._last < seconds:
                time.sleep(min(1.0, seconds / 4))
                if worker.running or worker.waiting or (door and door.connections):
                    self._last = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="gemma-idle", daemon=True).start()


def stay(worker: Worker, grace_s: float) -> None:
    """Wait for SIGTERM or SIGINT; what runs has `grace_s` seconds to finish then, and a second signal ends it."""
    ended = threading.Event()
    forced = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        (forced if ended.is_set() else ended).set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ended.wait()
        worker.drain()
        until = time.monotonic() + grace_s
        while worker.running and time.monotonic() < until and not forced.wait(0.05):
            continue
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
