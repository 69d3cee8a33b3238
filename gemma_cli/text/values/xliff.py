"""XLIFF 1.2 and 2: units without a translation get one; everything else is unchanged.

A unit has no translation if its target is missing or empty, or is equal to the source and has a state such as `new`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.marked import flat
from gemma_cli.text.timed.markup import HTML, XLIFF
from gemma_cli.text.values.value import Fixed, MalformedError, value

_TAG = re.compile(rb"<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")
_CDATA = re.compile(r"\s*<!\[CDATA\[(.*?)\]\]>\s*", re.DOTALL)
_FIXED = re.compile(
    r"<(?P<code>(?:\w+:)?(?:x|ph))\b(?:[^<>]*/>|.*?</(?P=code)\s*>)"
    r"|<(?P<mark>(?:\w+:)?mrk)\s[^<>]*(?:mtype\s*=\s*[\"']protected|translate\s*=\s*[\"']no)[\"'][^<>]*>.*?</(?P=mark)\s*>",
    re.DOTALL,
)
"""Placeholders within the words, such as a number that a program fills in, and protected words."""

_HOLDS_TARGET = frozenset(("trans-unit", "segment"))
_NEW = frozenset(("new", "needs-translation", "initial"))


@dataclass
class _Element:
    """An open element.

    translated: whether its words are to be translated.
    start, begin: where the element and its content begin.
    """

    name: str
    translated: bool
    start: int
    begin: int
    empty: bool
    state: str


@dataclass
class _Unit:
    """A unit; places are in bytes of the document.

    state: the state of the segment, in XLIFF 2.
    source, target: the element, the end of its content, and its own end.
    place: where a target is to be inserted.
    """

    translated: bool
    state: str
    source: tuple[_Element, int, int] | None = None
    target: tuple[_Element, int, int] | None = None
    place: int = 0


@dataclass
class _Reader:
    """Collects the units of a document while expat parses it and reports the start of each tag."""

    content: bytes
    units: list[_Unit] = field(default_factory=list)
    _open: list[_Element] = field(default_factory=list)
    _waiting: list[_Unit] = field(default_factory=list)

    def read(self) -> list[_Unit]:
        """Return the units in order. Raises MalformedError."""
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = lambda name, attributes: self._start(parser.CurrentByteIndex, name, attributes)
        parser.EndElementHandler = lambda name: self._end(parser.CurrentByteIndex, name)
        parser.EntityDeclHandler = _refuse_entities
        try:
            parser.Parse(self.content, True)
        except expat.ExpatError as error:
            raise MalformedError(
                f"not valid XLIFF: {expat.ErrorString(error.code)} in line {error.lineno}; correct the file"
            ) from None
        return self.units

    def _start(self, at: int, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        above = self._open[-1].translated if self._open else True
        translated = {"yes": True, "no": False}.get(attributes.get("translate", ""), above)
        found = _TAG.match(self.content, at)
        begin = found.end() if found else at
        empty = self.content[begin - 2 : begin] == b"/>"
        if name in _HOLDS_TARGET:
            self._waiting.append(_Unit(translated, attributes.get("state", "")))
        self._open.append(_Element(name, translated, at, begin, empty, attributes.get("state", "")))

    def _end(self, at: int, tag: str) -> None:
        element = self._open.pop()
        found = _TAG.match(self.content, at)
        end = element.begin if element.empty else found.end() if found else at
        inner = element.begin if element.empty else at
        if element.name in _HOLDS_TARGET:
            self.units.append(self._waiting.pop())
        elif self._open and self._open[-1].name in _HOLDS_TARGET and self._waiting:
            unit = self._waiting[-1]
            if element.name == "source":
                unit.source = (element, inner, end)
                unit.place = end
            elif element.name == "seg-source":
                unit.place = end
            elif element.name == "target":
                unit.target = (element, inner, end)


def xliff(document: str) -> tuple[list[Passage], list[str]]:
    """Split XLIFF into passages. Raises MalformedError."""
    content = document.encode()
    passages: list[Passage] = []
    position = 0
    for unit in sorted(_Reader(content).read(), key=lambda unit: unit.place):
        for start, end, passage in _passage(content, unit):
            passages += [Passage(content[position:start].decode()), passage]
            position = end
    return [*passages, Passage(content[position:].decode())], []


def _passage(content: bytes, unit: _Unit) -> Iterator[tuple[int, int, Passage]]:
    """Yield start and end of the translation's place, and its passage, if a unit has no translation."""
    if not unit.translated or not unit.source:
        return
    element, end, _ = unit.source
    source = content[element.begin : end].decode()
    if not unit.target:
        tag = (_TAG.match(content, element.start) or [b"<source>"])[0].decode()
        prefix = tag[1:].partition("source")[0]
        gap = re.search(rb"\s*\Z", content[: element.start])
        before = (gap[0] if gap else b"").decode() + f"<{prefix}target>"
        yield unit.place, unit.place, _value("", source, before, f"</{prefix}target>")
        return
    target, inner, outer = unit.target
    old = content[target.begin : inner].decode()
    if old.strip() and not ((target.state or unit.state) in _NEW and old == source):
        return
    if target.empty:
        tag = content[target.start : outer].decode()
        name = tag[1:].split("target")[0] + "target"
        yield target.start, outer, _value(tag, source, f"{tag[:-2].rstrip()}>", f"</{name}>")
    else:
        yield target.begin, inner, _value(old, source)


def _value(old: str, source: str, before: str = "", after: str = "") -> Passage:
    """Return the passage for a target. The model gets {x1} for the first placeholder, and so on.

    old: the present content of its place.
    before, after: text to write around it.
    """
    prefix = "x"
    while f"{{{prefix}" in source:
        prefix += "x"
    codes = itertools.count(1)
    fixed = [
        Fixed(found[0], f"{{{prefix}{next(codes)}}}" if found["code"] else flat(XLIFF.words(found[0]).plain))
        for found in _FIXED.finditer(source)
    ]

    def around(write: Callable[[str], str]) -> Callable[[str], str]:
        return lambda text: before + write(text) + after

    if cdata := _CDATA.fullmatch(source):
        write = around(lambda text: f"<![CDATA[{text.replace(']]>', ']]]]><![CDATA[>')}]]>")
        return value(old, cdata[1], HTML, write, unchanged=before + source + after)
    return value(old, source, XLIFF, around(str), unchanged=before + source + after, fixed=fixed)


def _refuse_entities(*_: object) -> None:
    raise MalformedError(
        "the file declares entities, which gemma does not support; replace the entities with their text"
    )
