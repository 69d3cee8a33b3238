"""Putting markup back around the words of a translation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from gemma_cli.text.overlap import plain, words
from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.lay_back import cut_places
from gemma_cli.text.timed.markup import Markup, Tag, Words


@dataclass(frozen=True)
class Marked(Passage):
    """Words with inline markup. text: the words alone, in one line."""

    markup: Markup | None = None

    def translated(self, translation: str) -> str:
        """Return the translation with the tags and line breaks of the source at corresponding words.

        Words that came back unchanged give the source itself.
        """
        if flat(translation) == self.text or self.markup is None:
            return self.source
        core = self.source[len(self.before) : len(self.source) - len(self.after)]
        return self.before + _placed(self.markup, self.markup.words(core), translation) + self.after

    def misplaced(self, translation: str) -> list[str]:
        """Return the opening tags that stood within a word: they cover whole words now."""
        if flat(translation) == self.text or self.markup is None:
            return []
        found = self.markup.words(self.source[len(self.before) : len(self.source) - len(self.after)])
        inside = [tag for tag in found.tags if tag.role != "single" and _within_a_word(found.plain, tag.offset)]
        return list(dict.fromkeys(tag.raw for tag in inside))


def marked(source: str, markup: Markup) -> Passage:
    """Return a source as a passage: its words to translate, or as it is when it has none."""
    core = source.strip()
    start = source.index(core) if core else 0
    text = flat(markup.words(core).plain)
    if not any(character.isalpha() for character in text):
        return Passage(source)
    return Marked(source, text, source[:start], source[start + len(core) :], markup=markup)


def flat(text: str) -> str:
    """Return a text in one line with single spaces."""
    return " ".join(text.split())


@dataclass(frozen=True)
class _Piece:
    """A tag, or a pair of them, at word positions. first, last: gaps between words; closing None: a single tag."""

    opening: Tag
    closing: Tag | None
    first: int
    last: int


def _placed(markup: Markup, source: Words, translation: str) -> str:
    """Write the translation with tags and line breaks: before word `gap`, or after word `gap` - 1."""
    text = flat(translation)
    old, new = words(source.plain), words(text)
    if not new:
        return "".join(tag.raw for tag in source.tags)
    edges = [(word.start(), word.end()) for word in old]
    opposite = _gaps([plain(word[0]) for word in old], [plain(word[0]) for word in new])
    opens: dict[int, list[tuple[int, str]]] = {}
    closes: dict[int, list[str]] = {}
    for piece in _pieces(source.tags, edges, opposite, len(new)):
        if piece.closing:
            opens.setdefault(piece.first, []).append((-piece.last, piece.opening.raw))
            closes.setdefault(piece.last, []).insert(0, piece.closing.raw)
        elif piece.opening.role == "close" or _after_a_word(source.plain, piece.opening.offset):
            closes.setdefault(piece.first, []).append(piece.opening.raw)
        else:
            opens.setdefault(piece.first, []).append((-len(new) - 1, piece.opening.raw))
    breaks = _breaks(source, edges, text, translation, [word.start() for word in new])
    written = ""
    ends = [0, *(word.end() for word in new)]
    starts = [*(word.start() for word in new), len(text)]
    for gap, (end, start) in enumerate(zip(ends, starts, strict=True)):
        written += "".join(closes.get(gap, []))
        written += breaks.get(gap, text[end:start])
        written += "".join(raw for _, raw in sorted(opens.get(gap, []), key=lambda one: one[0]))
        if gap < len(new):
            written += markup.encode(new[gap][0], source.escaped)
    return written


def _pieces(
    tags: Sequence[Tag], edges: list[tuple[int, int]], opposite: list[int], count: int
) -> list[_Piece]:
    """Give tags their places among `count` new words, outer pairs before inner ones; a pair covers at least a word."""
    pairs = _paired(tags)
    placed = []
    for number, tag in enumerate(tags):
        if number in pairs.values():
            continue
        closing = tags[pairs[number]] if number in pairs else None
        if closing:
            first = opposite[_words_ended(edges, tag.offset)]
            last = opposite[_words_begun(edges, closing.offset)]
            around = [piece for piece in placed if piece.closing and _holds(piece, tag, closing)]
            low = max((piece.first for piece in around), default=0)
            high = min((piece.last for piece in around), default=count)
            first = min(max(first, low), high - 1)
            placed.append(_Piece(tag, closing, first, max(first + 1, min(last, high))))
        else:
            after = tag.role == "close"
            gap = opposite[_words_begun(edges, tag.offset) if after else _words_ended(edges, tag.offset)]
            placed.append(_Piece(tag, None, max(gap, 1) if after else gap, 0))
    return placed


def _holds(piece: _Piece, opening: Tag, closing: Tag) -> bool:
    """Return whether a pair that opened earlier closes at or after the end of another."""
    return piece.closing is not None and piece.opening.offset <= opening.offset and (
        piece.closing.offset >= closing.offset and piece.closing is not closing
    )


def _paired(tags: Sequence[Tag]) -> dict[int, int]:
    """Match each opening tag with its closing one, properly nested; the others are left alone."""
    pairs, waiting = {}, []
    for number, tag in enumerate(tags):
        if tag.role == "open":
            waiting.append(number)
        elif tag.role == "close":
            same = [place for place, other in enumerate(waiting) if tags[other].name == tag.name]
            if same:
                pairs[waiting[same[-1]]] = number
                del waiting[same[-1] :]
    return pairs


def _gaps(old: list[str], new: list[str]) -> list[int]:
    """Return for each gap between old words the gap between new ones, in proportion between words that both have."""
    anchors = {(0, 0), (len(old), len(new))}
    for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        anchors |= {(block.a + step, block.b + step) for step in range(block.size + 1) if block.size}
    ordered = sorted(anchors)
    gaps = dict(ordered)
    for (left, begun), (right, ended) in pairwise(ordered):
        for gap in range(left + 1, right):
            gaps[gap] = begun + int((ended - begun) * (gap - left) / (right - left) + 0.5)
    return [gaps[gap] for gap in range(len(old) + 1)]


def _breaks(
    source: Words, edges: list[tuple[int, int]], text: str, translation: str, starts: list[int]
) -> dict[int, str]:
    """Choose the gaps between new words at which lines end, and how each end is written."""
    written: dict[int, str] = {}
    for offset, raw in source.breaks:
        gap = _words_ended(edges, offset)
        written[gap] = written.get(gap, "") + raw
    inner = {gap: raw for gap, raw in sorted(written.items()) if 0 < gap < len(edges)}
    outer = {(len(starts) if gap else 0): raw for gap, raw in written.items() if gap not in inner}
    bounds = [0, *(edges[gap][0] for gap in inner), len(source.plain)]
    lines = [flat(source.plain[start:end]) for start, end in pairwise(bounds)]
    given = [flat(line) for line in translation.splitlines() if line.strip()]
    if len(given) == len(lines):
        places = [len(" ".join(given[:number])) + 1 for number in range(1, len(given))]
    else:
        places = cut_places(text, lines)
    return outer | {starts.index(place): raw for place, raw in zip(places, inner.values(), strict=False)}


def _words_ended(edges: list[tuple[int, int]], offset: int) -> int:
    return bisect_right([end for _, end in edges], offset)


def _words_begun(edges: list[tuple[int, int]], offset: int) -> int:
    return bisect_right([start for start, _ in edges], offset - 1)


def _within_a_word(text: str, offset: int) -> bool:
    around = text[max(0, offset - 1) : offset + 1]
    return 0 < offset < len(text) and around.isalnum()


def _after_a_word(text: str, offset: int) -> bool:
    before, after = text[:offset][-1:], text[offset : offset + 1]
    return bool(before.strip()) and not after.strip()
