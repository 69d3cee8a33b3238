"""A program in a terminal of pyte's: keys go in, and the test waits for what a reader would see."""

import os
import signal
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte

PATIENCE = 300.0
"""Seconds before a wait gives up; a busy machine may need many, a failing test always takes them."""

WHERE = b"\x1b[6n"
"""The program asks where the cursor is."""


def end(child: pexpect.spawn) -> None:
    """Kill and reap: pexpect's own `close` gives a busy machine a tenth of a second, then raises."""
    if child.isalive():
        child.kill(signal.SIGKILL)
        child.wait()
    child.close(force=False)


class Driven:
    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        program: str = sys.executable,
        cwd: Path | None = None,
        **environment: str,
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": "", **environment}
        for name in ("COLUMNS", "LINES"):
            variables.pop(name)
        self.child = pexpect.spawn(
            program, list(arguments), dimensions=(rows, columns), env=variables, cwd=None if cwd is None else str(cwd)
        )

        other, unused = os.openpty()
        self._attributes = termios.tcgetattr(unused)[:4]
        os.close(other)
        os.close(unused)

    def send(self, keys: str) -> None:
        self.child.send(keys)

    def resize(self, columns: int, rows: int = 24) -> None:
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def until(self, seen: Callable[[str], bool] | str) -> str:
        """Wait until the screen (with its scrollback) holds a text, or satisfies a condition; the text of it."""
        holds = (lambda text: seen in text) if isinstance(seen, str) else seen
        deadline = time.monotonic() + PATIENCE
        while not holds(self.text):
            assert time.monotonic() < deadline, f"never seen: {seen}; the screen shows\n{self.text}"
            assert self._read(), f"ended before {seen} was seen; the screen shows\n{self.text}"
        return self.text

    def ends(self) -> int:
        """Wait for the end; the exit code, as a shell gives it. The terminal is as a new one, with echo and lines."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"never ended; the screen shows\n{self.text}"
        self.child.wait()
        assert termios.tcgetattr(self.child.child_fd)[:4] == self._attributes, "the terminal was not put back"
        return self.child.exitstatus if self.child.exitstatus is not None else 128 + self.child.signalstatus

    def kill(self, number: signal.Signals) -> None:
        self.child.kill(number)

    def close(self) -> None:
        end(self.child)

    @property
    def lines(self) -> list[str]:
        old = ["".join(row[x].data for x in sorted(row)).rstrip() for row in self.screen.history.top]
        return old + [row.rstrip() for row in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def _read(self) -> bool:
        """Take in what was written within a moment; False at the end of the program."""
        try:
            data = self.child.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        known = len(self.raw)
        self.raw += data
        self._stream.feed(data)
        for _ in range(self.raw.count(WHERE, max(0, known - len(WHERE) + 1))):
            self.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
        return True
