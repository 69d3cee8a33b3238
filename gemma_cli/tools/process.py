"""A process of its own for Python functions: asked one thing at a time, within a time limit, and ended with the chat.

A function in a thread of this process could not be stopped when its time is up or Ctrl-C is pressed: it would go on
behind the back of the chat, write to stdout, and could end the program or bring it down. A process can be killed with
all it has started, and it has descriptors of its own. A function that can be interrupted is: the process lives on, with
what its modules hold in memory. One that cannot is killed with the process; the next call starts another.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

GRACE_S = 1.0
"""Seconds a function has to end after it was interrupted."""

MOST_LINES = 10_000
"""Lines of output that wait to be shown."""

LONGEST_LINE = 1 << 16


class ProcessEnded(Exception):
    """The process has ended; the message says how."""


class Worker:
    """Runs worker.py, from the first request on. show: is given each line that functions write."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.generation = 0
        """Counts processes: a new one has loaded nothing."""
        self._show = show
        self._process: subprocess.Popen[bytes] | None = None
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ids = itertools.count(1)

    def start(self) -> None:
        """Start the process unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()  # what an earlier one has left behind
        self.generation += 1
        self._inbox = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C of the terminal is ours alone, and its group is what it has started
        )
        for target, stream in ((_answers, self._process.stdout), (_lines, self._process.stderr)):
            threading.Thread(target=target, args=(stream, self._inbox), daemon=True).start()

    def ask(self, request: Mapping[str, Any], limit_s: float) -> Mapping[str, Any]:
        """Return the answer to a request. Raises TimeoutError, Ended, and KeyboardInterrupt, which cancels it."""
        self.start()
        number = next(self._ids)
        try:
            self._send({"id": number, **request})
            return self._answer(number, limit_s)
        except (TimeoutError, KeyboardInterrupt):
            self._interrupt(number)
            raise
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the process and its children at once."""
        process, self._process = self._process, None
        if process is not None:
            _signal_group(process, "SIGKILL")
            process.wait()
            with contextlib.suppress(OSError):
                _close(process.stdin)

    def close(self) -> None:
        """End the process: after a short time to exit, it and its children are killed."""
        if self._process is None:
            return
        try:
            with contextlib.suppress(OSError):
                _close(self._process.stdin)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
        finally:
            self.kill()

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is in the inbox
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def _answer(self, number: int, limit_s: float) -> Mapping[str, Any]:
        """Show lines until the answer has come and all that was written before it. Raises TimeoutError, Ended."""
        deadline = time.monotonic() + limit_s
        answer: Mapping[str, Any] | None = None
        quiet = False
        while answer is None or not quiet:
            try:
                item = self._inbox.get(timeout=max(0.0, min(deadline - time.monotonic(), threading.TIMEOUT_MAX)))
            except queue.Empty:
                if answer is not None:  # it has closed its stderr
                    return answer
                raise TimeoutError from None
            match item:
                case str():
                    self._show(item)
                case dict() if item["id"] == number:
                    answer, deadline = item, time.monotonic() + GRACE_S
                case None if answer is None:
                    raise ProcessEnded(self._end())
                case int():
                    quiet = True
        return answer

    def _interrupt(self, number: int) -> None:
        """Give the function time to end, then kill it."""
        assert self._process is not None
        try:
            _signal_group(self._process, "SIGINT")
            self._answer(number, GRACE_S)
        except (TimeoutError, ProcessEnded):
            self.kill()
        except BaseException:
            self.kill()
            raise

    def _end(self) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        code = self._process.returncode
        if code is not None and code < 0:
            return f"the process of the tool ended ({signal.Signals(-code).name})"
        return f"the process of the tool ended (exit code {code})"


def _answers(stream: IO[bytes], inbox: queue.SimpleQueue[Any]) -> None:
    with stream, contextlib.suppress(OSError, ValueError):
        for line in stream:
            inbox.put(json.loads(line))
    inbox.put(None)


def _lines(stream: IO[bytes], inbox: queue.SimpleQueue[Any]) -> None:
    """Lines of output, and a number for the NUL that ends those of a request. Nobody reads them between requests, but
    a program that a tool has started must not be stopped by a full pipe: what is too much is dropped."""
    left = b""
    with stream, contextlib.suppress(OSError, ValueError):
        while data := os.read(stream.fileno(), LONGEST_LINE):
            *lines, left = (left + data).replace(b"\0", b"\n\0\n").split(b"\n")
            if len(left) > LONGEST_LINE:
                lines, left = [*lines, left], b""
            for line in lines:
                if line == b"\0":
                    inbox.put(0)
                elif line and inbox.qsize() < MOST_LINES:
                    inbox.put(line.decode("utf-8", "replace"))


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()


def _signal_group(process: subprocess.Popen[bytes], name: str) -> None:
    """Send a signal to the process and all that it has started and that has not left its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, getattr(signal, name))
        else:
            process.kill()
