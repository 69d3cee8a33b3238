"""Off a terminal: the answer to one stream, thoughts to the other, as they come. No colour, no markup, no animation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

from gemma_cli.core.events import Delta, Event, Turn, collect
from gemma_cli.views.sanitize import safe


def show(events: Iterable[Event], out: TextIO, err: TextIO, clean: Callable[[str], str] = safe) -> Turn:
    """Write each delta and flush it; end each stream with a newline. Raises BrokenPipeError when one is closed.

    clean: makes the answer safe; safe_json where it is JSON, whose values stay what they are then.
    """
    answer, thoughts = Lines(out.write, clean), Lines(err.write)

    def draw(event: Event) -> None:
        match event:
            case Delta(channel="thinking"):
                thoughts.write(event.text)
                err.flush()
            case Delta():
                thoughts.finish()
                answer.write(event.text)
                out.flush()

    turn = collect(events, draw)
    thoughts.finish()
    err.flush()
    answer.finish()
    out.flush()
    return turn


class Lines:
    """A writer of sanitized model text that knows whether it is in the middle of a line."""

    def __init__(self, write: Callable[[str], object], clean: Callable[[str], str] = safe) -> None:
        self._write, self._clean = write, clean
        self._open = False

    def write(self, text: str) -> None:
        if text := self._clean(text):
            self._write(text)
            self._open = not text.endswith("\n")

    def finish(self) -> None:
        """End the line, if one is open."""
        if self._open:
            self._write("\n")
            self._open = False
