"""A value: text that a data format holds, with placeholders and inline markup that its translation has to keep."""

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
"""A message of ICU with a text for each case: words and syntax are too entwined to part them."""


class MalformedError(Exception):
    """A document that cannot be read in its format. The message says where and why."""


_FIRST_MARK = 0x100000
"""The first character of Unicode's last private plane, whose characters stand for fixed parts within this module.

Icon fonts use the other private areas.
"""

_MARK = re.compile("[\U00100000-\U0010fffd]")
_MOST_FIXED = 0xFFFD


@dataclass(frozen=True)
class Fixed:
    """A part of a value that stays as it is: code, say. shown: what the model sees of it, which has to come back.

    before, all: how often the same words stand before it and in the whole value, parts before it left out.
    """

    raw: str
    shown: str
    before: int = 0
    all: int = 0


@dataclass(frozen=True)
class Value(Passage):
    """A value to translate. text: its words, in lines as the value has them.

    value: as programs read it. inner: its words and markup, with a mark in place of each fixed part. write: puts a new
    value into the form of the document. unchanged: the value itself in that form.
    """

    value: str = ""
    inner: Marked | None = None
    fixed: tuple[Fixed, ...] = ()
    write: Callable[[str], str] = str
    unchanged: str = ""

    def translated(self, translation: str) -> str:
        """Return the new value as the document writes it; the source where it lost a fixed part or has no words."""
        if self.inner is None or not translation.strip() or self.lost(translation):
            return self.source
        new = self.inner.translated(self._marked(translation)[0])
        new = _MARK.sub(lambda mark: self.fixed[ord(mark[0]) - _FIRST_MARK].raw, new)
        return self.unchanged if new == self.value else self.write(new)

    def lost(self, translation: str) -> list[str]:
        """Return the fixed parts that did not come back, or the placeholders that are not as often in it as before."""
        missing = [part.raw for part in self._marked(translation)[1]]
        before, after = (Counter(_PLACEHOLDER.findall(text)) for text in (self.text or "", translation))
        return missing or ([] if before == after else sorted((before - after) or (after - before)))

    def misplaced(self, translation: str) -> list[str]:
        """Return the tags that stood within a word."""
        if self.inner is None or self.lost(translation):
            return []
        return self.inner.misplaced(self._marked(translation)[0])

    def _marked(self, translation: str) -> tuple[str, list[Fixed]]:
        """Put marks into a translation in place of fixed parts. Returns the parts that are missing, too.

        Of several places that look alike the one with the same number is taken, if there are as many as in the value.
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
    """Return a span of a document as a passage: a value to translate, or as it is where it has no words.

    source: the span. text: the value, as programs read it. unchanged: see `Value`; None: the source. fixed: parts of
    the value that stay, in order.
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
    """Return a text with what the model sees in place of marks, and the fixed parts with their counts."""
    counted: list[Fixed] = []
    for number in reversed(range(len(fixed))):
        part = fixed[number]
        begin, _, end = text.partition(chr(_FIRST_MARK + number))
        text = begin + part.shown + end
        counted.insert(0, replace(part, before=begin.count(part.shown), all=text.count(part.shown)))
    return text, counted


def _nth(text: str, part: str, number: int) -> int:
    """Return where a part stands in a text for the n-th time, from 0; -1 if it does not."""
    place = text.find(part)
    for _ in range(number):
        place = text.find(part, place + len(part))
    return place
