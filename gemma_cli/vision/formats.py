"""Formats of descriptions.

A format is one class here, listed in FORMATS. A writer takes records one by one; `output.DescriptionOutput.record`
makes them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

Record = Mapping[str, Any]
"""A picture's file, size, cost and description."""


class DescriptionWriter:
    """Writes descriptions: `begin`, then `record` for each, then `end`. Each returns text, which may be empty.

    one_input: whether a document in this format holds the records of one file only.
    many: whether there is more than one record.
    """

    name: ClassVar[str]
    one_input: ClassVar[bool] = False

    def __init__(self, many: bool) -> None:
        self.many = many

    def begin(self) -> str:
        return ""

    def record(self, record: Record) -> str:
        raise NotImplementedError

    def end(self) -> str:
        return ""


class Txt(DescriptionWriter):
    """Plain text; several descriptions each follow a line with the name of their picture."""

    name = "txt"

    def record(self, record: Record) -> str:
        heading = f"==> {_line(label(record))} <==\n" if self.many else ""
        return f"{heading}{record['text']}\n"


class Json(DescriptionWriter):
    """A JSON object; an array of objects for several pages."""

    name = "json"
    one_input = True

    def __init__(self, many: bool) -> None:
        super().__init__(many)
        self._objects: list[Record] = []

    def record(self, record: Record) -> str:
        self._objects.append(record)
        return ""

    def end(self) -> str:
        whole = self._objects if self.many else self._objects[0] if self._objects else []
        return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


class JsonLines(DescriptionWriter):
    """JSON Lines: one object per line."""

    name = "jsonl"

    def record(self, record: Record) -> str:
        return json.dumps(record, ensure_ascii=False) + "\n"


class Markdown(DescriptionWriter):
    """Markdown: a heading with the name, the picture with its description as alternative text, then the description."""

    name = "md"

    def record(self, record: Record) -> str:
        path = "".join(f"%{ord(c):02X}" if c in "<>\\\r\n%" else c for c in record["file"])
        alt = alternative(record["text"]).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
        return f"## {_line(label(record))}\n\n![{alt}](<{path}>)\n\n{record['text']}\n\n"


class Csv(DescriptionWriter):
    """CSV by RFC 4180, with a header."""

    name = "csv"

    def begin(self) -> str:
        return ",".join(COLUMNS) + "\n"

    def record(self, record: Record) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(["" if record[c] is None else record[c] for c in COLUMNS])
        return out.getvalue()


COLUMNS = ("file", "page", "width", "height", "orientation", "detail", "soft_tokens", "same_as", "text")

_WRITERS: tuple[type[DescriptionWriter], ...] = (Txt, Json, JsonLines, Markdown, Csv)
FORMATS: Mapping[str, type[DescriptionWriter]] = {writer.name: writer for writer in _WRITERS}


def document(records: Sequence[Record], writer: type[DescriptionWriter]) -> str:
    """Return a document with all records."""
    writing = writer(len(records) > 1)
    return writing.begin() + "".join(map(writing.record, records)) + writing.end()


def label(record: Record) -> str:
    """Return the name of a picture, with its page number in a file of several pages."""
    return record["file"] if record["page"] is None else f"{record['file']}, page {record['page']}"


def alternative(text: str) -> str:
    """Return a description in one line, as an alternative text."""
    return " ".join(text.split())


def _line(name: str) -> str:
    return " ".join(name.splitlines())
