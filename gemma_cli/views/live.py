"""On a terminal: thoughts folded into one line, or shown dim; then the answer as it comes.

Only the one line of status.py is ever redrawn. Whatever else is written stays as it is, so nothing is shown twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic
from typing import TextIO

from rich.console import Console
from rich.text import Text

from gemma_cli.events import Delta, Event, Round, Turn
from gemma_cli.views.drawing import fold
from gemma_cli.views.plain import Lines
from gemma_cli.views.status import DELAY, StatusLine


def terminal(stream: TextIO) -> Console:
    """A console that takes text literally: no markup, no emoji codes, no highlighting. Honours NO_COLOR and TERM."""
    return Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True)


def show(events: Iterable[Event], out: Console, err: Console) -> Turn:
    """Draw a turn with its thoughts folded: one line while they last, one line saying how long they took."""
    thoughts = _Thoughts()
    line = StatusLine(err, thoughts.progress)

    def end() -> None:
        line.stop()
        if summary := thoughts.summary():
            err.print(Text(summary, style="dim"))

    line.start()
    return _show(events, out, thoughts.note, end)


def show_thinking(events: Iterable[Event], out: Console, err: Console) -> Turn:
    """Draw a turn with its thoughts in full, dim, above the answer."""
    thoughts = _Thoughts()
    line = StatusLine(err, thoughts.progress)
    written = Lines(lambda text: out.print(Text(text, style="dim"), end=""))

    def draw(event: Event) -> None:
        thoughts.note(event)
        if isinstance(event, Delta):
            line.stop()
            written.write(event.text)

    def end() -> None:
        line.stop()
        written.finish()
        if summary := thoughts.summary():
            err.print(Text(summary, style="dim"))

    line.start()
    return _show(events, out, draw, end)


def _show(events: Iterable[Event], out: Console, before: Callable[[Event], None], between: Callable[[], None]) -> Turn:
    """Draw the answer. before: draws what comes ahead of it; between: called once, before the answer or at the end."""
    answer = Lines(out.file.write)

    def draw(event: Event) -> None:
        if isinstance(event, Delta) and event.channel == "answer":
            ahead.close()
            answer.write(event.text)
            out.file.flush()
        else:
            before(event)

    with ExitStack() as ahead:
        ahead.callback(between)
        turn = fold(events, draw)
    answer.finish()
    out.file.flush()
    return turn


class _Thoughts:
    """How long the thoughts took, in seconds and tokens."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._tokens = 0

    def note(self, event: Event) -> None:
        match event:
            case Delta():
                self._began = self._began or monotonic()
            case Round():
                self._tokens += event.accepted + 1

    def progress(self, waited: float) -> str:
        """The line while it lasts; before the first thought it is the prompt that takes time."""
        if self._began is None:
            return f"reading the prompt, {waited:.0f} s" if waited > DELAY else ""
        return f"thinking {self._measure()}"

    def summary(self) -> str:
        return f"thought for {self._measure()}" if self._began else ""

    def _measure(self) -> str:
        """Tokens are counted by the round, so the last few may belong to the answer: hence "about"."""
        seconds = f"{monotonic() - (self._began or 0):.1f} s"
        return f"{seconds}, about {self._tokens} tokens" if self._tokens else seconds
