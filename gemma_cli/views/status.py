"""One line on stderr that says what is going on while there is nothing else to see; gone without trace afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gemma_cli.views.sanitize import safe_line

DELAY = 1.0
"""Seconds before a line appears: what is over sooner needs none."""


class StatusLine:
    """A dim line renewed by `describe` (seconds since start -> text, "" for none), if the terminal can redraw."""

    def __init__(self, console: Console, describe: Callable[[float], str]) -> None:
        self._describe = describe
        self._began = monotonic()
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._line,
                console=console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def start(self) -> None:
        self._began = monotonic()
        if self._live:
            self._live.start()

    def stop(self) -> None:
        """Take the line away; nothing happens the second time."""
        if self._live:
            self._live.stop()

    def _line(self) -> Text:
        """Never wider than the terminal: a wrapped line could not be taken back."""
        text = safe_line(self._describe(monotonic() - self._began))
        return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


@contextlib.contextmanager
def working(console: Console, label: str) -> Iterator[None]:
    """For work of unknown length: "loading e2b, 4 s"."""
    with _shown(StatusLine(console, lambda elapsed: f"{label}, {elapsed:.0f} s" if elapsed > DELAY else "")):
        yield


@contextlib.contextmanager
def counting(console: Console, label: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    """For work of known length; what it yields is told what was done: "talk.wav: 90 of 240 s, 40 s left"."""
    done = 0.0

    def advance(amount: float) -> None:
        nonlocal done
        done += amount

    def describe(elapsed: float) -> str:
        left = f", {elapsed / done * (total - done):.0f} s left" if 0 < done < total else ""
        return f"{label}: {done:.0f} of {total:.0f} {unit}{left}" if elapsed > DELAY else ""

    with _shown(StatusLine(console, describe)):
        yield advance


@contextlib.contextmanager
def _shown(line: StatusLine) -> Iterator[None]:
    line.start()
    try:
        yield
    finally:
        line.stop()
