"""Gettext's PO files: messages without a translation get one; everything else is unchanged.

Translated and fuzzy messages, obsolete ones, comments, contexts and the header are not touched. A new translation has
as many lines as the message that it translates.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.blocks import lines_of
from gemma_cli.text.timed.markup import MESSAGE
from gemma_cli.text.values.value import MalformedError, value

_FIELD = re.compile(r"(\ufeff?[ \t]*(msgctxt|msgid_plural|msgid|domain|msgstr(?:\[[ \t]*([0-9]+)[ \t]*\])?)[ \t]*)\"")
_STRING = re.compile(r"[ \t]*\"((?:[^\"\\]|\\.)*)\"\s*")
_OTHER = re.compile(r"\ufeff?\s*(?:#.*)?", re.DOTALL)
_FLAGS = re.compile(r"\ufeff?[ \t]*#,(.*)", re.DOTALL)
_PLURALS = re.compile(r"^Plural-Forms:.*?\bnplurals\s*=\s*([0-9]+)\s*;\s*plural\s*=\s*([^;\n]+)", re.MULTILINE)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_WIDTH = 77
"""Characters in a line of a message of several lines, as in gettext's tools."""


@dataclass
class _Field:
    """A field of a message.

    head: its text up to the quotation mark.
    raw: the rest, without the line end.
    """

    name: str
    head: str
    raw: str
    text: str
    form: int | None = None
    tail: str = ""


@dataclass
class _Message:
    """A message and the comments before it."""

    before: str = ""
    fuzzy: bool = False
    parts: list[_Field | str] = field(default_factory=list)

    def text(self, name: str) -> _Field | None:
        return next((part for part in self.parts if isinstance(part, _Field) and part.name == name), None)

    @property
    def translations(self) -> list[_Field]:
        return [part for part in self.parts if isinstance(part, _Field) and part.name == "msgstr"]


def po(document: str) -> tuple[list[Passage], list[str]]:
    """Split a PO file into passages, with remarks about untranslated messages. Raises MalformedError."""
    messages = list(_messages(document))
    single, forms = _plural_forms(messages)
    newline = next((end for end in ("\r\n", "\n", "\r") if end in document), "\n")
    passages = [passage for message in messages for passage in _passages(message, single, forms, newline)]
    fuzzy = sum(message.fuzzy for message in messages)
    plural = sum(message.text("msgid_plural") is not None and not message.fuzzy for message in messages)
    remarks = [f"messages that are marked as fuzzy are not translated ({fuzzy} found)"] if fuzzy else []
    if forms > 2 and plural and any(passage.text for passage in passages):
        words = "all forms except the singular have the same words"
        remarks.append(f"check the messages with plural forms ({plural} found): {words}")
    return passages, remarks


def _messages(document: str) -> Iterator[_Message]:
    message = _Message()
    last: _Field | None = None
    comments, fuzzy = "", False
    for number, line in enumerate(lines_of(document), 1):
        found = _FIELD.match(line)
        string = _STRING.fullmatch(line, found.end() - 1 if found else 0)
        if found and string:
            name = found[2].partition("[")[0]
            if name in ("msgctxt", "msgid", "domain") and message.translations:
                yield message
                message = _Message()
            if comments:
                message.parts.append(comments)
                comments = ""
            message.fuzzy, fuzzy = message.fuzzy or fuzzy, False
            raw = line[found.end() - 1 :]
            last = _Field(name, found[1], raw.rstrip(), _unescaped(string[1]), int(found[3]) if found[3] else None)
            last.tail = raw[len(last.raw) :]
            message.parts.append(last)
        elif string and last and not found:
            last.raw += last.tail + line.rstrip()
            last.tail = line[len(line.rstrip()) :]
            last.text += _unescaped(string[1])
        elif _OTHER.fullmatch(line):
            flags = _FLAGS.fullmatch(line)
            obsolete = line.lstrip("\ufeff \t").startswith("#~")
            fuzzy = not obsolete and (fuzzy or bool(flags and "fuzzy" in re.split(r"[\s,]+", flags[1])))
            comments += line
            last = None
        else:
            raise MalformedError(
                f"not a PO file: line {number} is neither a comment nor a string in quotation marks; correct the line"
            )
    if comments:
        message.parts.append(comments)
    yield message


def _passages(message: _Message, single: int, forms: int, newline: str) -> Iterator[Passage]:
    wanted = message.text("msgid")
    plural = message.text("msgid_plural")
    for part in message.parts:
        if isinstance(part, str):
            yield Passage(part)
            continue
        yield Passage(part.head)
        if part.name == "msgstr" and not part.text and wanted and wanted.text and not message.fuzzy:
            several = plural is not None and part.form is not None and (part.form != single or forms == 1)
            asked = plural if several and plural else wanted
            write = partial(_written, like=asked, newline=newline)
            yield value(part.raw, asked.text, MESSAGE, write, unchanged=asked.raw)
        else:
            yield Passage(part.raw)
        yield Passage(part.tail)


def _plural_forms(messages: list[_Message]) -> tuple[int, int]:
    """Return the plural form for 1 and the number of forms, from the header."""
    header = next((each for each in messages if (field := each.text("msgid")) and not field.text), None)
    found = _PLURALS.search(header.translations[0].text) if header and header.translations else None
    if not found:
        return 0, 2
    try:
        return gettext.c2py(found[2].strip())(1), int(found[1])
    except (ValueError, ZeroDivisionError):
        return 0, int(found[1])


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        if code := found[1] or found[2]:
            return chr(int(code, 8 if found[1] else 16))
        return _ESCAPES.get(found[3], found[3])

    return _ESCAPE.sub(character, text)


def _escaped(text: str) -> str:
    for written, character in (("\\\\", "\\"), ('\\"', '"'), ("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r")):
        text = text.replace(character, written)
    return text


def _written(text: str, like: _Field, newline: str) -> str:
    """Write a string on one line, or on several if its message has several lines."""
    lines = [_escaped(line) for line in re.findall(r"[^\n]*\n|[^\n]+", text)]
    _, *rest = lines_of(like.raw)
    if not rest:
        return '"' + "".join(lines) + '"'
    indent = rest[0][: len(rest[0]) - len(rest[0].lstrip(" \t"))]
    parts = [part for line in lines for part in _wrapped(line)]
    return newline.join(['""', *(f'{indent}"{part}"' for part in parts)])


def _wrapped(line: str) -> list[str]:
    """Cut a line after spaces into parts that fit the width; a longer word is not cut."""
    parts = [""]
    for word in re.findall(r"\S*\s*", line):
        if parts[-1] and len(parts[-1]) + len(word) > _WIDTH:
            parts.append("")
        parts[-1] += word
    return parts
