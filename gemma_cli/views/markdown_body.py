"""How a stream of text looks: text goes in, lines that are finished come out once, the rest can be previewed."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.segment import Segment

from gemma_cli.views.markdown_blocks import BlockSplitter, Piece
from gemma_cli.views.markdown_render import Line, plain_lines, render, wrapped_lines

PREVIEW = 3_000
"""Characters of an unfinished piece that are rendered for a frame; a longer one shows its end as plain text."""


class Body(Protocol):
    rendered: int  # characters given to a renderer so far

    def feed(self, text: str) -> None: ...
    def take(self, width: int) -> list[Line]: ...
    def preview(self, width: int) -> list[Line]: ...
    def close(self, width: int) -> list[Line]: ...


class MarkdownBody:
    """Markdown, rendered piece by piece."""

    def __init__(self, console: Console) -> None:
        self.rendered = 0
        self._console, self._blocks, self._begun = console, BlockSplitter(), False

    def feed(self, text: str) -> None:
        self._blocks.feed(text)

    def take(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for piece in self._blocks.take():
            lines += self._gap(piece) + self._render(piece, width)
            self._begun = True
        return lines

    def preview(self, width: int) -> list[Line]:
        piece = self._blocks.tail()
        if not piece.source.strip() and piece.kind == "text":
            return []
        if len(piece.source) > PREVIEW:
            self.rendered += PREVIEW
            return wrapped_lines(piece.source[-PREVIEW:], self._console, width)
        return self._gap(piece) + self._render(piece, width)

    def close(self, width: int) -> list[Line]:
        self._blocks.close()
        return self.take(width)

    def _gap(self, piece: Piece) -> list[Line]:
        return [[]] if piece.gap and self._begun else []

    def _render(self, piece: Piece, width: int) -> list[Line]:
        self.rendered += len(piece.source) + len(piece.context)
        return render(piece, self._console, width)


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

    def take(self, width: int) -> list[Line]:
        whole, newline, _ = self._rest.rstrip("\n").rpartition("\n")  # blank lines wait for what follows them
        if not newline:
            return []
        self._rest = self._rest[len(whole) + 1 :]
        return self._finished(whole, width)

    def preview(self, width: int) -> list[Line]:
        rest = self._rest[-PREVIEW:].rstrip("\n")
        self.rendered += len(rest)
        return wrapped_lines(rest, self._console, width) if rest else []

    def close(self, width: int) -> list[Line]:
        rest, self._rest = self._rest.rstrip("\n"), ""
        return self._finished(rest, width) if rest else []

    def _finished(self, text: str, width: int) -> list[Line]:
        self.rendered += len(text)
        return plain_lines(text, self._console)


class ThoughtsBody(RawBody):
    """Thoughts: dim, behind a bar."""

    def preview(self, width: int) -> list[Line]:
        rest = self._rest[-PREVIEW:].rstrip("\n")
        return self._finished(rest, width) if rest else []

    def _finished(self, text: str, width: int) -> list[Line]:
        self.rendered += len(text)
        style = self._console.get_style("dim")
        bar = Segment("| " if self._console.options.ascii_only else "│ ", style)
        return [[bar, *line] for line in wrapped_lines(text, self._console, width - 2, "dim")]
