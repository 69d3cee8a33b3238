"""Putting markup back around the words of a translation."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise, takewhile

from gemma_cli.text.overlap import plain, words
from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.lay_back import cut_places
from gemma_cli.text.timed.markup import Markup, Tag, Words

_PUNCTUATION = ".,;:!?…)]}\"'”’»。、，！？：；"


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
    """A tag, or a pair of them, at gaps between words.

    closing None: a tag alone, which has no `last`. inside: whether the closing tag stood before the punctuation of its
    word. left: whether a tag alone belongs to the word before it. order: of the tag that is written last.
    """

    opening: Tag
    closing: Tag | None
    first: int
    last: int = 0
    inside: bool = False
    left: bool = False
    order: int = 0

    @property
    def closed(self) -> int | None:
        """The gap before which it is written last, if it belongs to a word before."""
        if self.closing:
            return self.last
        return self.first if self.left else None


def _placed(markup: Markup, source: Words, translation: str) -> str:
    """Write the translation with tags and line breaks. Gap `n` is the one before word `n`."""
    text = flat(translation)
    new = words(text)
    if not new:
        return "".join(tag.raw for tag in source.tags)
    edges = [(word.start(), word.end()) for word in words(source.plain)]
    pieces = _pieces(source, edges, _Gaps.between(source.plain, text)) if source.tags else []
    breaks = _breaks(source, edges, text, translation, [word.start() for word in new])
    written = ""
    ends = [0, *(word.end() for word in new)]
    starts = [*(word.start() for word in new), len(text)]
    for gap, (end, start) in enumerate(zip(ends, starts, strict=True)):
        written += breaks.get(gap, text[end:start])
        written += "".join(piece.opening.raw for piece in _outer_first(pieces, gap))
        if gap < len(new):
            closing = [piece for piece in pieces if piece.closed == gap + 1]
            written += _closed(markup, source, new[gap][0], closing)
    return written


def _outer_first(pieces: list[_Piece], gap: int) -> Iterator[_Piece]:
    """Yield what opens at a gap, in the order of the source except that longer pairs go before shorter ones."""
    here = [piece for piece in pieces if piece.first == gap and not piece.left]
    pairs = iter(sorted((piece for piece in here if piece.closing), key=lambda piece: -piece.last))
    return (next(pairs) if piece.closing else piece for piece in here)


def _closed(markup: Markup, source: Words, word: str, closing: list[_Piece]) -> str:
    """Write a word and the tags after it; inner pairs close first."""
    pairs = [piece for piece in reversed(closing) if piece.closing]
    alone = [piece for piece in closing if not piece.closing]
    inside = [] if alone else list(takewhile(lambda piece: piece.inside, pairs))
    stem = word.rstrip(_PUNCTUATION) if inside else word
    if not stem or stem == word:
        inside = []
        stem = word
    written = markup.encode(stem, source.escaped) + "".join(piece.closing.raw for piece in inside if piece.closing)
    written += markup.encode(word[len(stem) :], source.escaped)
    for piece in pairs[len(inside) :]:
        while alone and alone[0].order < piece.order:
            written += alone.pop(0).opening.raw
        written += piece.closing.raw if piece.closing else ""
    return written + "".join(piece.opening.raw for piece in alone)


def _pieces(source: Words, edges: list[tuple[int, int]], gaps: _Gaps) -> list[_Piece]:
    """Give tags their places among the new words, outer pairs before inner ones; a pair covers at least a word."""
    tags = source.tags
    pairs = _paired(tags)
    placed: list[_Piece] = []
    for number, tag in enumerate(tags):
        if number in pairs.values():
            continue
        begin = _words_ended(edges, tag.offset)
        if number not in pairs:
            left = tag.role == "close" or any(
                other.role == "close" and other.offset == tag.offset for other in tags[number:]
            )
            gap = round(gaps.ends[_words_begun(edges, tag.offset)] if left else gaps.starts[begin])
            placed.append(_Piece(tag, None, max(gap, 1) if left else gap, left=left, order=number))
            continue
        closing = tags[pairs[number]]
        around = [piece for piece in placed if piece.closing and _holds(piece, tag, closing)]
        low = max((piece.first for piece in around), default=0)
        high = min((piece.last for piece in around), default=gaps.count)
        start, stop = gaps.starts[begin], gaps.ends[_words_begun(edges, closing.offset)]
        first, last = round(start), round(stop)
        if last - first < 2:
            first = int((start + stop) / 2)
        first = min(max(first, low), high - 1)
        inside = _before_punctuation(source.plain, closing.offset)
        last = max(first + 1, min(last, high))
        placed.append(_Piece(tag, closing, first, last, inside, order=pairs[number]))
    return placed


@dataclass(frozen=True)
class _Gaps:
    """For each gap between old words the place between the `count` new ones, as words begin and as words end there."""

    starts: list[float]
    ends: list[float]
    count: int

    @staticmethod
    def between(old: str, new: str) -> _Gaps:
        """Match gaps exactly around words that both texts have, and in proportion between those."""
        before, after = ([plain(word[0]) for word in words(text)] for text in (old, new))
        anchors = {(0, 0), (len(before), len(after))}
        for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
            anchors |= {(block.a + step, block.b + step) for step in range(block.size + 1) if block.size}
        starts: dict[int, float] = {}
        ends: dict[int, float] = {}
        for gap, place in sorted(anchors):
            starts[gap] = place
            ends.setdefault(gap, place)
        starts[0], ends[len(before)] = 0, len(after)
        known = sorted(starts)
        for left, right in pairwise(known):
            for gap in range(left + 1, right):
                share = (gap - left) / (right - left)
                starts[gap] = ends[gap] = starts[left] + (ends[right] - starts[left]) * share
        every = range(len(before) + 1)
        return _Gaps([starts[gap] for gap in every], [ends[gap] for gap in every], len(after))


def _holds(piece: _Piece, opening: Tag, closing: Tag) -> bool:
    """Return whether a pair that opened earlier closes at or after the end of another."""
    return (
        piece.closing is not None
        and piece.opening.offset <= opening.offset
        and (piece.closing.offset >= closing.offset and piece.closing is not closing)
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


def _before_punctuation(text: str, offset: int) -> bool:
    """Return whether only punctuation of the word follows."""
    rest = re.match(r"\S*", text[offset:])
    return bool(rest and rest[0] and not rest[0].strip(_PUNCTUATION)) and text[offset - 1 : offset].isalnum()
