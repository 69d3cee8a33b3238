"""CSV and TSV: the cells of the named columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Literal

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.markup import MESSAGE
from gemma_cli.text.values.value import MalformedError, value

_SEPARATORS = ",;\t|"
_HINT = re.compile(r"\ufeff?sep=(.)\r?\n", re.IGNORECASE)
"""A first line that declares the separator to Excel."""


def table(document: str, fields: tuple[str, ...], tabs: bool = False) -> tuple[list[Passage], list[str]]:
    """Split a table into passages. Raises MalformedError.

    fields: columns by the names in the first row, which stays then, or by their numbers from 1. tabs: whether tabs
    separate the columns; otherwise the first row tells.
    """
    hint = _HINT.match(document)
    begin = hint.end() if hint else len(document) - len(document.removeprefix("\ufeff"))
    separator = hint[1] if hint else "\t" if tabs else _separator(document[begin:])
    rows, quoted = _parted(document[begin:], separator)
    header = [_read(raw, quoted) for raw in rows[0][::2]] if rows else []
    if not fields:
        raise MalformedError(f"no field is given: add --field NAME with one of {', '.join(filter(None, header))}")
    named = {name.strip(): number for number, name in enumerate(header)}
    columns = {named[field] if field in named else _number(field, header) for field in fields}
    passages = [Passage(document[:begin])]
    for number, row in enumerate(rows):
        for place, raw in enumerate(row):
            column, between = divmod(place, 2)
            if between or column not in columns or (number == 0 and any(field in named for field in fields)):
                passages.append(Passage(raw))
            else:
                write = partial(_written, always=raw[:1] == '"', separator=separator, quoted=quoted)
                passages.append(value(raw, _read(raw, quoted), MESSAGE, write))
    return passages, []


def _separator(text: str) -> str:
    """Return the separator that is most frequent in the first row, outside quotation marks."""
    first = re.match(r'(?:"(?:[^"]|"")*"|[^"\r\n])*', text)
    counted = Counter(re.sub(r'"(?:[^"]|"")*"', "", first[0] if first else ""))
    return max(_SEPARATORS, key=lambda mark: counted[mark])


def _parted(text: str, separator: str) -> tuple[list[list[str]], bool]:
    """Return the rows, as cells and separators in turn, and whether quotation marks enclose cells.

    The csv module of Python has to read the same cells. Raises MalformedError.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # else a long cell is an error
    for quoted in (True, False) if separator == "\t" else (True,):
        rows = list(_rows(text, separator, quoted))
        cells = [[_read(raw, quoted) for raw in row[::2]] for row in rows]
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        with suppress(csv.Error):
            lines = io.StringIO(text, newline="")
            known = list(csv.reader(lines, delimiter=separator, strict=True, quoting=quoting))
            if [row or [""] for row in known] == cells:
                return rows, quoted
    raise MalformedError("the cells of the table cannot be separated; correct the quotation marks within cells")


def _rows(text: str, separator: str, quoted: bool) -> Iterator[list[str]]:
    mark = re.escape(separator)
    cell = rf'"(?:[^"]|"")*"|[^{mark}\r\n]*' if quoted else rf"[^{mark}\r\n]*"
    part = re.compile(rf"({cell})({mark}|\r\n|\r|\n|\Z|(?=.))", re.DOTALL)
    row: list[str] = []
    position = 0
    while position < len(text):
        found = part.match(text, position)
        if not found or found.end() == position:
            raise MalformedError("the cells of the table cannot be separated; correct the table")
        row += found.groups()
        position = found.end()
        if found[2] != separator:
            yield row
            row = []
    if row:
        yield [*row, "", ""]


def _number(field: str, header: list[str]) -> int:
    if field.isascii() and field.isdigit() and 0 < int(field) <= len(header):
        return int(field) - 1
    raise MalformedError(f"no column is named {field}; give --field with one of {', '.join(filter(None, header))}")


def _read(raw: str, quoted: bool) -> str:
    return raw[1:-1].replace('""', '"') if quoted and len(raw) > 1 and raw[0] == raw[-1] == '"' else raw


def _written(text: str, always: bool, separator: str, quoted: bool) -> str:
    if not quoted:
        return re.sub(rf"[{re.escape(separator)}\r\n]+", " ", text)
    if always or text[:1] == '"' or any(mark in text for mark in (separator, "\n", "\r")):
        return '"' + text.replace('"', '""') + '"'
    return text
