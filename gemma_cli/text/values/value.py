"""A value: text in a data format, with placeholders and inline markup that a translation must preserve."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.marked import Marked, flat, marked
from gemma_cli.text.timed.markup import Markup

_PLACEHOLDER = re.compile(
    r"(?<![0-9%])%(?:[0-9]+\$|\(\w+\))?[-+#0']*[0-9]*(?:\.(?:[0-9]+|\*))?(?:hh|ll|[hlqLjzt])?[diouxXeEfFgGaAcsp@]"
    r"|(?<![0-9%])%(?:L?[0-9]{1,2}|n|\{\w+\})"
    r"|\$?\{\{?\s*[\w.$-]*(?:[,:!][^{}]*)?\s*\}?\}"
    r"|\$t\([^()]*\)|\{%.*?%\}|<%.*?%>",
    re.DOTALL,
)
"""Placeholders that programs fill in: printf and Qt, str.format and ICU, i18next, Jinja and ERB."""

_CHOICE = re.compile(r"\{\s*[\w.]+\s*,\s*(?:plural|select|selectordinal|choice)\b")
"""An ICU message with a text for each case; it is left as it is, because words and syntax are interleaved."""


class MalformedError(Exception):
    """Raised for a document that cannot be read in its format; the message has the place and the reason."""


_FIRST_MARK = 0x100000
"""The first of the characters that replace fixed parts within this module: Unicode's last private plane.

Icon fonts use the other private areas.
"""

_MARK = re.compile("[\U00100000-\U0010fffd]")
_MOST_FIXED = 0xFFFD


@dataclass(frozen=True)
class Fixed:
    """A part of a value that must not change, such as code.

    shown: its form in the model's input, which must also be in the output.
    before, all: how often `shown` occurs before it, and in the entire value, not counting earlier parts.
    """

    raw: str
    shown: str
    before: int = 0
    all: int = 0


@dataclass(frozen=True)
class Value(Passage):
    """A value to translate.

    text: its words, in the lines of the value.
    value: the value as programs read it.
    inner: its words and markup, with a mark in place of each fixed part.
    write: converts a new value to the syntax of the document.
    unchanged: the value itself in that syntax.
    """

    value: str = ""
    inner: Marked | None = None
    fixed: tuple[Fixed, ...] = ()
    write: Callable[[str], str] = str
    unchanged: str = ""

    def translated(self, translation: str) -> str:
        """Return the new value in the document's syntax; the source if a fixed part is missing or no words are left."""
        if self.inner is None or not translation.strip() or self.lost(translation):
            return self.source
        new = self.inner.translated(self._marked(translation)[0])
        new = _MARK.sub(lambda mark: self.fixed[ord(mark[0]) - _FIRST_MARK].raw, new)
        return self.unchanged if new == self.value else self.write(new)

    def lost(self, translation: str) -> list[str]:
        """Return the missing fixed parts; if none is missing, the placeholders whose number has changed."""
        missing = [part.raw for part in self._marked(translation)[1]]
        before, after = (Counter(_PLACEHOLDER.findall(text)) for text in (self.text or "", translation))
        return missing or ([] if before == after else sorted((before - after) or (after - before)))

    def misplaced(self, translation: str) -> list[str]:
        """Return the tags that would be within a word."""
        if self.inner is None or self.lost(translation):
            return []
        return self.inner.misplaced(self._marked(translation)[0])

    def _marked(self, translation: str) -> tuple[str, list[Fixed]]:
        """Replace fixed parts by marks; return the text and the missing parts.

        If a part's text occurs as often as in the value, its occurrence with the same number is replaced; else the
        first one.
        """
        text, missing = _MARK.sub("", translation), []
        for number, part in enumerate(self.fixed):
            place = _nth(text, part.shown, part.before if text.count(part.shown) == part.all else 0)
            if place < 0:
                missing.append(part)
            else:
                text = text[:place] + chr(_FIRST_MARK + number) + text[place + len(part.shown) :]
        return text, missing


def value(
    source: str,
    text: str,
    markup: Markup,
    write: Callable[[str], str],
    unchanged: str | None = None,
    fixed: Sequence[Fixed] = (),
) -> Passage:
    """Return a span of a document as a passage: a value to translate, or a fixed text if it has no words.

    source: the span.
    text: the value, as programs read it.
    unchanged: see `Value`; None: the source.
    fixed: parts of the value that must not change, in order.
    """
    if _CHOICE.search(text) or _MARK.search(text) or len(fixed) > _MOST_FIXED:
        return Passage(source, unknown=True)
    fixed = [part for part in fixed if part.shown]
    with_marks = text
    for number, part in enumerate(fixed):
        with_marks = with_marks.replace(part.raw, chr(_FIRST_MARK + number), 1)
    inner = marked(with_marks, markup)
    plain = markup.words(with_marks).plain
    if not isinstance(inner, Marked) or not any(map(str.isalpha, _PLACEHOLDER.sub("", plain))):
        return Passage(source)
    lines = "\n".join(flat(line) for line in plain.split("\n") if line.strip())
    written = source if unchanged is None else unchanged
    shown, counted = _shown(lines, fixed)
    return Value(source, shown, value=text, inner=inner, fixed=tuple(counted), write=write, unchanged=written)


def _shown(text: str, fixed: Sequence[Fixed]) -> tuple[str, list[Fixed]]:
    """Replace marks by the texts that the model sees; return the text, and the fixed parts with their counts."""
    counted: list[Fixed] = []
    for number in reversed(range(len(fixed))):
        part = fixed[number]
        begin, _, end = text.partition(chr(_FIRST_MARK + number))
        text = begin + part.shown + end
        counted.insert(0, replace(part, before=begin.count(part.shown), all=text.count(part.shown)))
    return text, counted


def _nth(text: str, part: str, number: int) -> int:
    """Return the place of the n-th occurrence of a part, from 0; -1 if there is none."""
    place = text.find(part)
    for _ in range(number):
        place = text.find(part, place + len(part))
    return place
