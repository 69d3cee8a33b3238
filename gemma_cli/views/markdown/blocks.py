"""Markdown cut into pieces as it streams: what is finished can be rendered once and never again.

Only the end of the text is ever looked at, line by line, so the cost is linear in its length. A piece is what stands
between blank lines, an item of a list, or a run of whole lines of a code block; fed in any chunks the pieces are the
same, and nothing of the text is lost between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

LIMIT = 4_000
"""Characters after which a piece that does not end is cut at a line, so that no block is rendered as one huge one."""

CELLS = 400
"""Cells of a table after which it is cut likewise: what they cost to draw goes by their number, not their length."""

CONTEXT_LINES = 24
"""Lines of code before a piece that its highlighting looks back on: enough for most strings and comments."""

TABLE_ROWS = 12
"""Rows of an unfinished table that are looked at."""

_FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)")
_INNER_FENCE = re.compile(r"\s+(?:[-+*]|\d{1,9}[.)])?\s*(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")
_RULE = re.compile(r" {0,3}([-*_])( *\1){2,} *$")
_QUOTE = re.compile(r" {0,3}>")
_BULLET = re.compile(r"( {0,3})([-+*])( +|$)")
_NUMBER = re.compile(r"( {0,3})(\d{1,9})([.)])( +|$)")
_TABLE_RULE = re.compile(r" *\|? *:?-+:? *(\| *:?-+:? *)*\|? *$")

Kind = Literal["text", "fence", "code"]


@dataclass(frozen=True)
class Piece:
    """kind text: markdown; fence: a line that opens or closes code; code: whole lines of it, in `language`.

    gap: a blank line stands before it. context: the lines of code before this piece, for highlighting.
    """

    kind: Kind
    source: str
    gap: bool = False
    language: str = ""
    context: str = ""


@dataclass
class _Fence:
    """An open code block: its marker, how far it is indented, its language, and the code so far that is kept."""

    marker: str
    indent: int
    language: str
    context: list[str] = field(default_factory=list)

    def closed_by(self, line: str) -> bool:
        stripped = line.strip()
        return (
            len(line) - len(line.lstrip(" ")) <= 3
            and len(stripped) >= len(self.marker)
            and stripped == self.marker[0] * len(stripped)
        )


class BlockSplitter:
    """feed() text, take() what is finished; `tail` is the unfinished rest; close() finishes it."""

    def __init__(self) -> None:
        self._finished: list[Piece] = []
        self._partial = ""  # the line being written
        self._lines: list[str] = []  # the piece being written
        self._size = self._cells = 0
        self._gap = False  # whether a blank line precedes the next block
        self._fence: _Fence | None = None
        self._code: list[str] = []
        self._item: tuple[str, int] | None = None  # delimiter of the list and indent of its items' text
        self._number = 0
        self._inner = ""  # marker of the fence open inside a list item
        self._blank_in_item = False

    def feed(self, text: str) -> None:
        *lines, rest = (self._partial + text).split("\n")
        for line in lines:
            self._line(self._shortened(line))
        self._partial = self._shortened(rest)

    def take(self) -> Iterator[Piece]:
        """Return the blocks finished since the last call, in order; of an open code block its complete lines."""
        self._flush_code()
        finished, self._finished = self._finished, []
        return iter(finished)

    def tail(self) -> Piece:
        """Return the unfinished text; of a table, its heading and last rows."""
        if self._fence:
            line = self._partial[:LIMIT]
            if self._fence.closed_by(line) or set(line.strip()) == {self._fence.marker[0]}:
                line = ""  # most likely the start of the closing fence
            return Piece("code", line, self._gap, self._fence.language, "\n".join(self._fence.context))
        lines = self._lines
        if (rule := self._table_rule()) is not None:
            lines = lines[rule - 1 : rule + 1] + lines[rule + 1 :][-TABLE_ROWS:]
        if self._partial:
            lines = [*lines, self._numbered(self._partial)]
        return Piece("text", "\n".join(lines), self._gap)

    @property
    def settled(self) -> bool:
        """Whether what `tail` gives will be the beginning of the next piece: a table may still change its columns, and
        the line being written may begin a piece of its own."""
        return self._table_rule() is None and not (self._lines and _starts_block(self._partial))

    def _table_rule(self) -> int | None:
        """The line under the heading of the table being written."""
        rules = (i for i, line in enumerate(self._lines) if i and "|" in line and _TABLE_RULE.match(line))
        return next(rules, None)

    def close(self) -> None:
        if self._partial:
            self._line(self._partial)
            self._partial = ""
        self._finish()
        self._fence = None

    # ----------------------------------------------------------------------------------------------------------------

    def _shortened(self, line: str) -> str:
        """Return the rest of an endless line of prose after blocks of LIMIT characters are finished."""
        while len(line) > LIMIT and self._fence is None:
            space = line.rfind(" ", 1, LIMIT)
            at = space if space > 0 else LIMIT
            self._line(line[:at])
            self._finish()
            line = line[at:].removeprefix(" ")
        return line

    def _line(self, line: str) -> None:
        if self._fence:
            self._code_line(self._fence, line)
        elif not line.strip():
            self._blank_line()
        elif self._item and self._goes_on_in_item(line):
            self._append(line)
        else:
            self._outer_line(line)
        if (self._size > LIMIT or self._cells > CELLS) and not self._inner:
            self._cut_short()

    def _code_line(self, fence: _Fence, line: str) -> None:
        if fence.closed_by(line):
            self._flush_code()
            self._finished.append(Piece("fence", line.strip()))
            self._fence = None
        else:
            indent = min(fence.indent, len(line) - len(line.lstrip(" ")))
            self._code.append(line[indent:])

    def _flush_code(self) -> None:
        if self._fence and self._code:
            context = "\n".join(self._fence.context)
            self._finished.append(Piece("code", "\n".join(self._code), False, self._fence.language, context))
            self._fence.context = (self._fence.context + self._code)[-CONTEXT_LINES:]
            self._code = []

    def _blank_line(self) -> None:
        if self._item:
            self._blank_in_item = True
            if self._inner:
                self._append("")
        else:
            self._finish()
            self._gap = True

    def _goes_on_in_item(self, line: str) -> bool:
        """Return whether `line` belongs to the current list item; an item or block after it finishes it."""
        assert self._item
        indent = len(line) - len(line.lstrip(" "))
        if self._inner:
            if line.strip().startswith(self._inner) and not line.strip().strip(self._inner[0]):
                self._inner = ""
            return True
        if indent >= self._item[1] or (indent >= 2 and not _starts_block(line)):
            if opened := _INNER_FENCE.match(line):
                self._inner = opened[1]
            if self._blank_in_item:
                self._append("")
            return True
        return not self._blank_in_item and not _starts_block(line)

    def _outer_line(self, line: str) -> None:
        if fence := _FENCE.match(line):
            self._finish()
            self._fence = _Fence(fence[2], len(fence[1]), fence[3].strip().partition(" ")[0])
            self._finished.append(Piece("fence", line.strip(), self._take_gap()))
        elif _HEADING.match(line) or (_RULE.match(line) and not self._underlines(line)):
            self._finish()
            self._append(line)
            self._finish()
        elif bullet := _BULLET.match(line):
            self._start_item(bullet[2], len(bullet[0]), line)
        elif (number := _NUMBER.match(line)) and (self._item or not self._lines or number[2] == "1"):
            line = self._renumbered(number, line)
            self._start_item(number[3], len(number[0]), line)
        else:
            after_quote = bool(self._lines and _QUOTE.match(self._lines[0]))
            if self._item or (_QUOTE.match(line) and not after_quote):
                self._finish()
            self._append(line)

    def _underlines(self, line: str) -> bool:
        """Return whether `---` makes a heading of the paragraph before it."""
        return bool(self._lines) and not self._item and line.strip().strip("-") == ""

    def _start_item(self, delimiter: str, indent: int, line: str) -> None:
        same_list = self._item is not None and self._item[0] == delimiter
        self._finish(leave_list=not same_list)
        self._item = (delimiter, max(indent, 2))
        self._append(line)
        if opened := _INNER_FENCE.match(line[indent - 1 :]):
            self._inner = opened[1]

    def _numbered(self, line: str) -> str:
        """The line being written with the number it will have."""
        number = _NUMBER.match(line)
        if number and self._item and self._item[0] == number[3] and not self._inner:
            return f"{number[1]}{self._number + 1}{line[number.end(2) :]}"
        return line

    def _renumbered(self, number: re.Match[str], line: str) -> str:
        """Items count on from the first, whatever number they bear, as CommonMark has it."""
        goes_on = self._item is not None and self._item[0] == number[3]
        self._number = self._number + 1 if goes_on else int(number[2])
        return f"{number[1]}{self._number}{line[number.end(2) :]}"

    def _append(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line) + 1
        self._cells += line.count("|") if len(self._lines) > 2 and _TABLE_RULE.match(self._lines[1]) else 0
        self._blank_in_item = False

    def _finish(self, leave_list: bool = True) -> None:
        self._flush_code()
        if self._lines:
            self._finished.append(Piece("text", "\n".join(self._lines), self._take_gap()))
        self._gap = self._gap or self._blank_in_item
        self._lines, self._size, self._cells, self._blank_in_item, self._inner = [], 0, 0, False, ""
        if leave_list:
            self._item = None

    def _cut_short(self) -> None:
        """Finish the piece in the middle; a table goes on under its heading."""
        table = self._lines[:2] if len(self._lines) > 2 and _TABLE_RULE.match(self._lines[1]) else []
        self._finish(leave_list=False)
        for line in table:
            self._append(line)

    def _take_gap(self) -> bool:
        gap, self._gap = self._gap, False
        return gap


def _starts_block(line: str) -> bool:
    return any(pattern.match(line) for pattern in (_FENCE, _HEADING, _RULE, _QUOTE, _BULLET, _NUMBER))
