"""Rendering of a stream of text: text goes in, finished lines come out once, and the rest can be redrawn.

A long paragraph does not wait for its end: all but its last rows are finished while it is still being written. What
of it was finished is remembered as a number of letters and digits, because those are the same however the paragraph
is wrapped and whichever emphasis turns out to be closed later; so nothing is lost or doubled when the terminal is
resized in the middle of it.
"""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.segment import Segment

from gemma_cli.views.markdown.blocks import BlockSplitter, Piece
from gemma_cli.views.markdown.render import Line, plain_lines, render, wrapped_lines

ENDLESS = 1 << 30
"""Rows that may be redrawn where nothing is redrawn at all: then only what is finished comes out."""


class Body(Protocol):
    """rendered: characters given to a renderer so far."""

    rendered: int

    def feed(self, text: str) -> None: ...

    def advance(self, width: int, rows: int) -> tuple[list[Line], list[Line]]:
        """Lines that are finished now, and what follows them as it stands; about `rows` of that may change."""

    def close(self, width: int) -> list[Line]:
        """Return the unfinished lines."""


class MarkdownBody:
    """Markdown, rendered block by block."""

    def __init__(self, console: Console) -> None:
        self.rendered = 0
        self._console, self._blocks, self._begun = console, BlockSplitter(), False
        self._out = 0  # letters and digits of the unfinished piece that came out already

    def feed(self, text: str) -> None:
        self._blocks.feed(text)

    def advance(self, width: int, rows: int) -> tuple[list[Line], list[Line]]:
        finished = self._take(width)
        piece = self._blocks.tail()
        if rows >= ENDLESS or (piece.kind == "text" and not piece.source.strip()):
            return finished, []
        rest = self._render(piece, width)
        if piece.kind == "text" and self._blocks.settled:
            early = _early(rest, rows)
            self._out += sum(map(_letters, early))
            self._begun = self._begun or bool(early)
            finished, rest = finished + early, rest[len(early) :]
        return finished, rest

    def close(self, width: int) -> list[Line]:
        self._blocks.close()
        return self._take(width)

    def _take(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for piece in self._blocks.take():
            lines += self._render(piece, width)
            self._begun, self._out = True, 0
        return lines

    def _render(self, piece: Piece, width: int) -> list[Line]:
        """The lines of a piece that have not come out yet, after the blank line that stands before it."""
        self.rendered += len(piece.source) + len(piece.context)
        lines = render(piece, self._console, width)
        if self._out:
            return _after(lines, self._out)
        return [[], *lines] if piece.gap and self._begun else lines


class RawBody:
    """Text as it was written, markdown and all; the terminal wraps its lines, so that it can be copied."""

    def __init__(self, console: Console) -> None:
        self.rendered = 0
        self._console, self._rest, self._begun = console, "", False

    def feed(self, text: str) -> None:
        self._rest += text
        if not self._begun:
            self._rest = self._rest.lstrip("\n")
            self._begun = bool(self._rest)

    def advance(self, width: int, rows: int) -> tuple[list[Line], list[Line]]:
        whole, newline, _ = self._rest.rstrip("\n").rpartition("\n")  # blank lines wait for what follows them
        self._rest = self._rest[len(whole) + len(newline) :]
        finished = self._finished(whole, width) if newline else []
        return finished, self._unfinished(width, rows) if self._rest.strip("\n") else []

    def close(self, width: int) -> list[Line]:
        rest, self._rest = self._rest.rstrip("\n"), ""
        return self._finished(rest, width) if rest else []

    def _finished(self, text: str, width: int) -> list[Line]:
        self.rendered += len(text)
        return plain_lines(text, self._console)

    def _unfinished(self, width: int, rows: int) -> list[Line]:
        end = self._rest.rstrip("\n")[-width * min(rows + 1, 20) :]
        self.rendered += len(end)
        return wrapped_lines(end, self._console, width)


class ThoughtsBody(RawBody):
    """Thoughts: dim, behind a bar."""

    def advance(self, width: int, rows: int) -> tuple[list[Line], list[Line]]:
        finished, rest = super().advance(width, rows)
        early = _early(rest, rows)
        self._rest = _text_after(self._rest, sum(map(_letters, early)))
        return finished + early, rest[len(early) :]

    def _finished(self, text: str, width: int) -> list[Line]:
        self.rendered += len(text)
        style = self._console.get_style("dim")
        bar = Segment("| " if self._console.options.ascii_only else "│ ", style)
        return [[bar, *line] for line in wrapped_lines(text, self._console, width - 2, "dim")]

    def _unfinished(self, width: int, rows: int) -> list[Line]:
        return self._finished(self._rest.rstrip("\n"), width)


def _early(lines: list[Line], rows: int) -> list[Line]:
    """The lines above the last `rows`, up to one that has something to remember it by."""
    end = max(0, len(lines) - rows)
    while end and not _letters(lines[end - 1]):
        end -= 1
    return lines[:end]


def _letters(line: Line) -> int:
    """Letters and digits of a line."""
    return sum(character.isalnum() for segment in line for character in segment.text)


def _after(lines: list[Line], letters: int) -> list[Line]:
    """Return the part of `lines` after that many letters and digits."""
    for index, line in enumerate(lines):
        count = _letters(line)
        if count > letters:
            return [_line_after(line, letters), *lines[index + 1 :]] if letters else lines[index:]
        letters -= count
        if not letters and count:
            return lines[index + 1 :]
    return []


def _line_after(line: Line, letters: int) -> Line:
    rest: Line = []
    for segment in line:
        count = _letters([segment])
        if letters >= count and letters:
            letters -= count
        else:
            rest.append(Segment(_text_after(segment.text, letters), segment.style))
            letters = 0
    return rest


def _text_after(text: str, letters: int) -> str:
    """Return the part of `text` after that many letters and digits, and after the marks and blanks that follow them."""
    if not letters:
        return text
    for index, character in enumerate(text):
        letters -= character.isalnum()
        if not letters:
            return text[index + 1 :].lstrip(" ,.;:!?)")
    return ""
