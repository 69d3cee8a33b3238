"""The arguments of a tool call, read in one pass and in one way.

Gemma 4's own notation is JSON with unquoted keys and <|"|> for quotes. What it often writes instead is read too where
it has one meaning: JSON and Python strings and literals, `=` for `:`, a comma before a closing bracket, spaces in a
name. A missing comma and text without quotes are read as well, but noted as faults: whether they can be trusted is for
`repair` to decide, from what the tool declares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from gemma_cli.core.tool_calls.literals import (
    KEY,
    QUOTE,
    QUOTES,
    Unclear,
    Unreadable,
    first_of_list,
    first_of_mapping,
    literal,
    next_quote,
    pair_in,
    unescaped,
)
from gemma_cli.core.tool_calls.schema import Schema, conforms, of_items, of_property

DEEPEST = 64
"""Levels of nesting."""

MOST_WORK = 1_000_000
"""Characters of text without quotes that are looked at, over and over where commas are missing too."""

_SPACE = re.compile(r"\s*")
_SIGN = re.compile(r"[:=]")
_MARKER = re.compile(r"<[^<>\s]*>")

Fault = Literal["comma", "unquoted"]


@dataclass(frozen=True)
class Edit:
    """Another end of a string: the value that begins at `start` is text[inner:end], and reading continues at `after`.

    quote: what the string is quoted with. sure: False for a reading that is only there to make others doubtful.
    """

    start: int
    inner: int
    end: int
    after: int
    quote: str
    sure: bool = True


@dataclass(frozen=True)
class ValueStart:
    """Where a value begins. space: where the white space before it begins. described: its tool declares all that may
    stand there.

    quote: what it begins with if that is a quote; end: where that string ended, quote included, -1 if it had no end.
    """

    space: int
    start: int
    described: bool
    quote: str = ""
    end: int = -1


@dataclass
class Reader:
    """A recursive-descent reader of `text` from `at` on. names: the properties its tool declares.

    Afterwards, also after a failure, places and faults say where values began and what was wrong so far.
    """

    text: str
    at: int
    names: Iterable[str] = ()
    edit: Edit | None = None
    places: list[ValueStart] = field(default_factory=list)
    faults: set[Fault] = field(default_factory=set)
    _depth: int = 0
    _work: int = 0

    def arguments(self, close: str, schema: Schema) -> dict[str, Any]:
        """Read the mapping up to `close` ("": up to the end of the text). Raises Unreadable."""
        self._run = re.compile(r'[^{}\[\],<>"' + (")" if close == ")" else "") + "]+")
        found = self._mapping(close, schema)
        self._skip()
        if self.at < len(self.text):
            raise Unreadable("text follows after the end of the call")
        return found

    # Brackets -------------------------------------------------------------------------------------------------------

    def _mapping(self, close: str, schema: Schema) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._ends(close, found):
            key = self._key()
            if not (self._take(":") or self._take("=")):
                raise Unreadable(f"the call has no colon after {key}")
            if key in found:
                raise Unreadable(f"the call has {key} twice")
            found[key] = self._value(of_property(schema, key), bool(schema and schema.get("properties")), in_list=False)
        return found

    def _list(self, close: str, schema: Schema) -> list[Any]:
        found: list[Any] = []
        while not self._ends(close, found):
            found.append(self._value(of_items(schema), of_items(schema) is not None, in_list=True))
        return found

    def _ends(self, close: str, found: dict[str, Any] | list[Any]) -> bool:
        """Whether the bracket ends here; else the comma before the next item is taken."""
        if self._closes(close):
            return True
        if found:
            if not self._take(","):
                self.faults.add("comma")
            elif self._closes(close):
                return True
        return False

    def _closes(self, close: str) -> bool:
        self._skip()
        if not close or self.at >= len(self.text):
            if close:
                raise Unreadable(f"the call does not end with {close}")
            return self.at >= len(self.text)
        return self._take(close)

    def _nested(self, read: Callable[[str, Schema], Any], close: str, schema: Schema) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unreadable("the call is nested too deeply")
        found = read(close, schema)
        self._depth -= 1
        return found

    # Values ---------------------------------------------------------------------------------------------------------

    def _value(self, schema: Schema, described: bool, in_list: bool) -> Any:
        self._skip()
        start = before = self.at
        while self.text[before - 1].isspace():
            before -= 1
        if self.edit and self.edit.start == start:
            self.at = self.edit.after
            return unescaped(self.text[self.edit.inner : self.edit.end], self.edit.quote)
        for quote in QUOTES:
            if self._take(quote):
                self.places.append(ValueStart(before, start, described, quote))
                text = self._string(quote)
                self.places[-1] = ValueStart(before, start, described, quote, self.at)
                return text
        self.places.append(ValueStart(before, start, described))
        if self._take("{"):
            return self._nested(self._mapping, "}", schema)
        if self._take("["):
            return self._nested(self._list, "]", schema)
        return self._bare(schema, in_list)

    def _string(self, quote: str) -> str:
        end = next_quote(self.text, self.at, quote)
        if end < 0:
            raise Unreadable("a string in the call has no closing quote")
        raw, self.at = self.text[self.at : end], end + len(quote)
        if quote != QUOTE and QUOTE in raw:
            raise Unreadable("a string in the call begins and ends with different quotes")
        return unescaped(raw, quote)

    def _bare(self, schema: Schema, in_list: bool) -> Any:
        """Read a number, a name such as true, or text without quotes."""
        found = self._run.match(self.text, self.at)
        word = found.group().strip() if found else ""
        self._work += len(word)
        if self._work > MOST_WORK:
            raise Unclear("the call is too long to repair")
        if not found or not word or word[0] in ":=":
            raise Unreadable("the call lacks a value")
        if (value := literal(word)) is not None:
            self.at = found.end()
            return value[0]
        first = first_of_list(word) if in_list else first_of_mapping(word)
        if first and conforms(first[0], schema):
            if self._is_text(word, schema) or (in_list and schema is None):
                raise Unclear("the call lacks a comma or a quote")
            self.faults.add("comma")
            self.at += first[1]
            return first[0]
        if first is None and schema is None:
            if _SIGN.search(word):
                raise Unreadable("the call lacks a comma or a quote")
        elif not self._is_text(word, schema):
            raise Unreadable("a string in the call has no quotes")
        self.faults.add("unquoted")
        self.at = found.end()
        return word

    def _is_text(self, word: str, schema: Schema) -> bool:
        """Whether the tool takes this text here; what names another parameter is none."""
        return schema is not None and conforms(word, schema) and not pair_in(word, self.names)

    def _key(self) -> str:
        self._skip()
        for quote in QUOTES:
            if self._take(quote):
                key = self._string(quote)
                break
        else:
            found = KEY.match(self.text, self.at)
            if not found:
                raise Unreadable("the call lacks the name of an argument")
            key, self.at = found.group(), found.end()
        if _MARKER.search(key):
            raise Unreadable("a name in the call contains a control token")
        return key

    def _take(self, mark: str) -> bool:
        self._skip()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _skip(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # it always matches
