"""A program in a terminal of pyte's: keys go in, and the test waits for what a reader would see."""

import os
import signal
import sys
import termios
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pexpect
import pyte
from pexpect.fdpexpect import fdspawn

from tests.cli.helpers.warm import Fork

PATIENCE = 300.0
"""Seconds before a wait gives up; a busy machine may need many, a failing test always takes them."""

WHERE = b"\x1b[6n"
"""The program asks where the cursor is."""


class Forked(fdspawn):  # type: ignore[misc]
    """`gemma` or a script on a terminal, as pexpect.spawn runs a program, but with everything imported already."""

    exitstatus: int | None = None
    signalstatus: int | None = None

    def __init__(
        self,
        place: Path,
        script: str | None,
        arguments: list[str],
        size: tuple[int, int],
        environment: dict[str, str],
        folder: Path,
        **options: Any,
    ) -> None:
        """size: rows and columns. options: of pexpect."""
        reader, tty = os.openpty()
        termios.tcsetwinsize(tty, size)
        self._running = Fork(place, script, arguments, environment, folder, (tty, tty, tty), terminal=True)
        os.close(tty)
        super().__init__(reader, **options)

    def setwinsize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.child_fd, (rows, columns))

    def kill(self, number: int) -> None:
        self._running.send_signal(number)

    def isalive(self) -> bool:
        return self.exitstatus is self.signalstatus is None

    def wait(self) -> None:
        code = self._running.wait()
        self.exitstatus, self.signalstatus = (code, None) if code >= 0 else (None, -code)

    def close(self, force: bool = True) -> None:
        self._running.close()
        super().close()


def end(child: pexpect.spawn) -> None:
    """Kill and reap: pexpect's own `close` gives a busy machine a tenth of a second, then raises."""
    if child.isalive():
        child.kill(signal.SIGKILL)
        child.wait()
    child.close(force=False)


class Driven:
    """A program on a terminal. forks: where scripts run in forks of one process."""

    forks: ClassVar[Path | None] = None

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        program: str = sys.executable,
        cwd: Path | None = None,
        **environment: str,
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._old: list[str] = []
        variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": "", **environment}
        for name in ("COLUMNS", "LINES"):
            variables.pop(name)
        self.child: pexpect.spawn | Forked
        if program == sys.executable and self.forks:
            script, *rest = arguments
            size = rows, columns
            self.child = Forked(self.forks, script, rest, size, variables, cwd or Path.cwd())
        else:
            self.child = pexpect.spawn(
                program, list(arguments), dimensions=(rows, columns), env=variables, cwd=cwd and str(cwd)
            )
        self.child.delaybeforesend = None

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
        top = self.screen.history.top
        if len(self._old) > len(top):  # what had been scrolled away was erased
            self._old.clear()
        new = islice(top, len(self._old), None)
        self._old += ["".join(row[x].data for x in sorted(row)).rstrip() for row in new]
        return self._old + [row.rstrip() for row in self.screen.display]

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
