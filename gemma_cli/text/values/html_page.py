"""HTML: the words between tags, and those of some attributes. Tags, code, scripts and styles stay as they are.

Consecutive words and inline tags form one value. An element that must not be translated is sent to the model with its
sentence, so that the sentence is complete; the translation must contain it unchanged.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import accumulate, pairwise

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.marked import flat
from gemma_cli.text.timed.markup import HTML, TEXT
from gemma_cli.text.values.value import Fixed, MalformedError, value


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_INLINE = _names(
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img ins kbd mark nobr q s samp small span strike "
    "strong sub sup time tt u var wbr"
)
_VOID = _names("area base br col embed hr img input link meta param source track wbr")
_FIXED = _names("code kbd samp var tt")
_SKIPPED = _names("script style pre textarea svg math template iframe object noembed xmp plaintext canvas")
_ATTRIBUTES = frozenset(("alt", "title", "placeholder", "aria-label"))
_META = frozenset(("description", "og:title", "og:description"))
_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]+)(?:\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?")


@dataclass(frozen=True)
class _Token:
    """A tag, a comment or text.

    kind: "inline" or "fixed" within a value; "apart" ends a value.
    """

    start: int
    end: int
    kind: str


def html_attributes(document: str) -> tuple[list[Passage], list[str]]:
    """Split HTML into the values of attributes and the rest. Raises MalformedError."""
    if "<?php" in document:
        raise MalformedError("a PHP program that contains HTML; save only the HTML as an .html file")
    passages: list[Passage] = []
    position = 0
    for start, end, quote in _attribute_values(document):
        raw = document[start:end]
        passages.append(Passage(document[position:start]))
        passages.append(value(raw, html.unescape(raw), TEXT, _Quoted(quote)))
        position = end
    return [*passages, Passage(document[position:])], []


def html_text(document: str) -> tuple[list[Passage], list[str]]:
    """Split HTML into words with their inline tags, and the rest."""
    passages: list[Passage] = []
    run: list[_Token] = []
    for token in [*_tokens(document), _Token(len(document), len(document), "apart")]:
        if token.kind != "apart":
            run.append(token)
            continue
        passages += _value(document, run)
        run = []
        passages.append(Passage(document[token.start : token.end]))
    return passages, []


@dataclass(frozen=True)
class _Quoted:
    """Writes the value of an attribute.

    quote: its quotation mark.
    """

    quote: str

    def __call__(self, text: str) -> str:
        return html.escape(text, quote=False).replace(self.quote, "&quot;" if self.quote == '"' else "&#39;")


def _value(document: str, run: list[_Token]) -> Iterator[Passage]:
    if not run:
        return
    source = document[run[0].start : run[-1].end]
    parts = [document[token.start : token.end] for token in run if token.kind == "fixed"]
    fixed = [Fixed(part, flat(HTML.words(part).plain)) for part in parts]
    yield value(source, source, HTML, str, fixed=fixed)


def _tokens(document: str) -> Iterator[_Token]:
    """Yield the parts of a document in order; an element that must not be translated is one part."""
    skipped, depth, begin, inside = "", 0, 0, ""
    for tag in _Tags.of(document):
        if skipped:
            depth += (tag.name == skipped) * (tag.opens - tag.closes)
            if not depth:
                yield _Token(begin, tag.end, inside)
                skipped = ""
        elif tag.opens and tag.name not in _VOID and (kind := tag.stays):
            skipped, depth, begin, inside = tag.name, 1, tag.start, kind
        else:
            yield _Token(tag.start, tag.end, "inline" if tag.inline else "apart")
    if skipped:
        yield _Token(begin, len(document), "apart")


def _attribute_values(document: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and quotation mark of each attribute value with words."""
    at = 0
    ends = {token.start: token.end for token in _tokens(document)}
    for tag in _Tags.of(document):
        if tag.start < at:
            continue
        if tag.opens and tag.stays and tag.name not in _VOID:
            at = ends.get(tag.start, tag.end)
            continue
        if not tag.opens or tag.excluded:
            continue
        wanted = _ATTRIBUTES | ({"content"} if tag.name == "meta" and tag.attributes & _META else set())
        raw = document[tag.start : tag.end]
        for found in _ATTRIBUTE.finditer(raw, len(tag.name) + 1):
            if found[1].lower() in wanted and (found[2] or "")[:1] in ('"', "'") and len(found[2] or "") > 2:
                yield tag.start + found.start(2) + 1, tag.start + found.end(2) - 1, found[2][0]


@dataclass(frozen=True)
class _Tag:
    """A tag, or the text or comment between two tags.

    name: the name of its element; empty for text and comments.
    opens, closes: whether it begins or ends an element.
    inline: whether a sentence continues across it.
    excluded: whether its attributes forbid translation.
    attributes: values of `name` and `property`.
    """

    start: int
    end: int
    name: str = ""
    opens: bool = False
    closes: bool = False
    inline: bool = True
    excluded: bool = False
    attributes: frozenset[str] = frozenset()

    @property
    def stays(self) -> str:
        """Return the kind of its element if that is not translated; "" if it is translated."""
        if self.name in _SKIPPED or (self.excluded and not self.inline):
            return "apart"
        return "fixed" if self.name in _FIXED or self.excluded else ""


class _Tags(HTMLParser):
    """Records the start, name and attributes of each tag."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[_Tag] = []
        self._document = document
        lengths = map(len, document.split("\n"))
        self._lines = [0, *accumulate(length + 1 for length in lengths)]
        self.feed(document)
        self.close()

    @classmethod
    def of(cls, document: str) -> list[_Tag]:
        """Return the tags of a document and the text between them, in order."""
        found = [*cls(document).found, _Tag(len(document), len(document))]
        before = [_Tag(0, found[0].start)] if found[0].start else []
        ends = [following.start for _, following in pairwise(found)]
        return before + [
            _Tag(tag.start, end, tag.name, tag.opens, tag.closes, tag.inline, tag.excluded, tag.attributes)
            for tag, end in zip(found, ends, strict=False)
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        excluded = (given.get("translate") or "").lower() == "no" or "notranslate" in (given.get("class") or "").split()
        named = frozenset((given.get(name) or "").lower() for name in ("name", "property"))
        self._note(tag, opens=True, excluded=excluded, attributes=named)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:  # <path/> in SVG ends at once; in HTML the slash means nothing
            self.found[-1] = _Tag(self._place(), 0, tag, inline=tag in _INLINE)

    def handle_endtag(self, tag: str) -> None:
        self._note(tag, closes=True)

    def handle_data(self, data: str) -> None:
        self.found.append(_Tag(self._place(), 0))

    def handle_entityref(self, name: str) -> None:
        self.handle_data(name)

    def handle_charref(self, name: str) -> None:
        self.handle_data(name)

    def handle_comment(self, data: str) -> None:
        place = self._place()  # a bogus comment, such as <!x>, ends a sentence
        self.found.append(_Tag(place, 0, inline=self._document.startswith("<!--", place)))

    def handle_decl(self, decl: str) -> None:
        self.found.append(_Tag(self._place(), 0, inline=False))

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Read <![...> as a comment, as browsers do. HTMLParser itself fails at an unknown one."""
        return self.parse_bogus_comment(i, report)

    def handle_pi(self, data: str) -> None:
        self.handle_decl(data)

    def unknown_decl(self, data: str) -> None:
        self.handle_decl(data)

    def _note(
        self,
        name: str,
        opens: bool = False,
        closes: bool = False,
        excluded: bool = False,
        attributes: frozenset[str] = frozenset(),
    ) -> None:
        self.found.append(_Tag(self._place(), 0, name, opens, closes, name in _INLINE, excluded, attributes))

    def _place(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
