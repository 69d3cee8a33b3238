"""The smallest parts of a tool call's arguments: strings and their escapes, numbers, true, false and null."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

QUOTE = '<|"|>'
QUOTES = (QUOTE, '"', "'")


class Unreadable(ValueError):
    """A call with no meaning or several; the message has the reason."""


class Unclear(Unreadable):
    """A call with several meanings, whatever else is repaired."""


def next_quote(text: str, at: int, quote: str) -> int:
    """Return where the next such quote is that no backslash escapes; -1 if there is none."""
    if quote == QUOTE:
        return text.find(quote, at)
    found = _STRINGS[quote].match(text, at)
    return found.end() - 1 if found else -1


_STRINGS = {quote: re.compile(rf"[^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+{quote}", re.DOTALL) for quote in ('"', "'")}
KEY = re.compile(r"""[^\s{}\[\],:=<>"']+(?: +[^\s{}\[\],:=<>"']+)*""")
_PAIR = re.compile(rf"\s*{KEY.pattern}\s*[:=]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WITHOUT_EXPONENT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NAMED = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_LITERALS = (_NUMBER, _WITHOUT_EXPONENT, *(re.compile(name) for name in _NAMED))
_SEVERAL = re.compile(rf"(?>(?:(?>{_NUMBER.pattern}|{'|'.join(_NAMED)})\s*){{2,}})")


def literal(word: str) -> tuple[int | float | bool | None] | None:
    """The number, boolean or null that a word stands for, in a tuple; None if it is another word."""
    if word in _NAMED:
        return (_NAMED[word],)
    if not _NUMBER.fullmatch(word):
        return None
    try:
        number = int(word) if word.lstrip("-").isdigit() else float(word)
    except ValueError:  # more digits than Python reads
        raise Unreadable("a number in the call is too long") from None
    return (number,) if math.isfinite(number) else None


def first_of_mapping(word: str) -> tuple[Any, int] | None:
    """The literal that a word begins with where a name and a colon follow, with its length; the comma is missing."""
    found = {}
    for pattern in _LITERALS:
        start = pattern.match(word)
        if start and _PAIR.match(word, start.end()) and (value := literal(start.group())) is not None:
            found[start.end()] = value[0]
    if len(found) > 1:
        raise Unclear("a comma is missing")
    return next(((value, length) for length, value in found.items()), None)


def first_of_list(word: str) -> tuple[Any, int] | None:
    """The first of the literals that a word consists of, with its length; the commas are missing."""
    if not _SEVERAL.fullmatch(word):
        return None
    start = next(found for pattern in _LITERALS if (found := pattern.match(word)))
    value = literal(start.group())
    return (value[0], start.end()) if value is not None else None


def pair_in(text: str, names: Iterable[str]) -> bool:
    """Whether a text holds `NAME:` or `NAME=` for one of `names`."""
    return any(re.search(rf"(?<!\w){re.escape(name)}\s*[:=]", text) for name in names if name in text)


_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_SINGLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", '"': '"', "'": "'", "/": "/"}
_ELSEWHERE = frozenset("avxuUN01234567\n")
"""Escapes of Python that JSON and `repr` do without, and beginnings of ones that are not complete."""


def unescaped(raw: str, quote: str) -> str:
    """The text of a string that was quoted with `quote`. Raises Unreadable for escapes whose meaning is not clear.

    Within <|"|> a backslash is a backslash, and <|"|> itself a quote.
    """
    if quote == QUOTE:
        return raw.replace(QUOTE, '"')
    escapes = [found.group(1) for found in _ESCAPE.finditer(raw)]
    known = [len(escape) > 1 or (escape in _SINGLE and (escape, quote) != ("/", "'")) for escape in escapes]
    if any(escape in _ELSEWHERE for escape in escapes) or (any(known) and not all(known)):
        raise Unreadable("a string in the call has escapes that JSON does not allow")
    if not any(known):
        return raw
    text = _ESCAPE.sub(lambda found: _character(found.group(1)), raw)
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Unreadable("a string in the call has an incomplete character") from None


def _character(escape: str) -> str:
    if len(escape) == 1:
        return _SINGLE[escape]
    number = int(escape[1:], 16)
    if number > 0x10FFFF:
        raise Unreadable("a string in the call has escapes that JSON does not allow")
    return chr(number)
