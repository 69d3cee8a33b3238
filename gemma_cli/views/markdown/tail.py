"""Lines that stay and, under them, a few that are redrawn until they are finished too.

The cursor always waits at the *start* of the redrawn lines. A terminal that is resized keeps the cursor on its text,
whether it wraps its lines anew (most do) or cuts them (xterm), so one "erase from here down" removes what was drawn
and nothing else; no row is ever counted across a resize. Lines are drawn with automatic wrapping off, so a character
the terminal takes to be wider than we do cannot make a second row of one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rich.console import Console
from rich.segment import Segment, Segments

from gemma_cli.views.markdown.render import Line

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # synchronized output: the terminal shows complete frames only
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_ERASE_BELOW = "\r\x1b[J"

MAX_HEIGHT = 6
"""Rows that are redrawn at most."""

SHARE = 4
"""At most this part of the screen's height is redrawn. When the terminal narrows, the rows wrap and grow in number, and
what is pushed off the top of the screen is in the scrollback and cannot be erased any more."""


class Tail:
    """Draws on `console`; off a terminal, and on a dumb one, only what stays is written. Safe for two threads."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = console.is_terminal and not console.is_dumb_terminal
        self._drawn = False
        self.lock = threading.RLock()

    def __enter__(self) -> Tail:
        if self.live:
            self._write(_HIDE)
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self._write(f"{_ERASE_BELOW if self._drawn else ''}{_WRAP}{_SHOW}")
            self._drawn = False

    @property
    def height(self) -> int:
        """Rows there are for the redrawn lines."""
        return max(1, min(MAX_HEIGHT, self.console.size.height // SHARE))

    @property
    def width(self) -> int:
        """Cells of a line; one column stays free, because terminals differ about what follows a full row."""
        return max(1, self.console.size.width - 1)

    def draw(self, finished: Sequence[Line], unfinished: Sequence[Line]) -> None:
        """Add the finished lines to what stays, and show the last of the unfinished ones under it."""
        stays = "".join(f"{self._ansi(line)}\n" for line in finished)
        with self.lock:
            if not self.live:
                if stays:
                    self._write(stays)
                return
            width = self.width
            rows = [
                self._ansi(Segment.adjust_line_length(line, width, pad=False)) for line in unfinished[-self.height :]
            ]
            if not (stays or rows or self._drawn):
                return
            erase = _ERASE_BELOW if self._drawn else ""
            below = _NO_WRAP + "\n".join(rows) + _WRAP + "\r" + (f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else "")
            self._drawn = bool(rows)
            self._write(_BEGIN + erase + stays + (below if rows else "") + _END)

    def _ansi(self, line: Sequence[Segment]) -> str:
        with self.console.capture() as capture:
            self.console.print(Segments(line), end="", soft_wrap=True)
        return capture.get()

    def _write(self, text: str) -> None:
        self.console.file.write(text)
        self.console.file.flush()
