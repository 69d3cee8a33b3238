"""Segments as subtitles are read: short lines, few at a time, and each while its words are said."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gemma_cli.core.events import TimedWord
from gemma_cli.text.overlap import words as words_of
from gemma_cli.text.transcript import Segment

_SENTENCE_ENDS, _CLAUSE_ENDS = ".?!…。？！", ",;:、，；："
_CLOSING = "\"'”’»)]"
_HESITATION_S = 0.25
"""Silence between words that is a place to cut, even without punctuation."""


@dataclass(frozen=True)
class Layout:
    """The limits of a cue; None: no limit.

    width: characters in a line. lines: in a cue. speed: characters a second. shortest, longest: seconds. words: in a
    cue. The last four take the times of words; a segment without them is cut by lines alone.
    """

    width: int | None = None
    lines: int | None = None
    speed: float | None = None
    shortest: float | None = None
    longest: float | None = None
    words: int | None = None


def lay_out(segments: Iterable[Segment], layout: Layout) -> Iterator[Segment]:
    """Yield the segments as cues.

    A segment whose words have times becomes several cues where it holds several sentences or breaks a limit. One
    without is cut where it has too many lines, and the cues share its time by their characters.
    """
    cues = (cue for segment in segments for cue in _cues(segment, layout))
    for number, cue in enumerate(cues):
        yield replace(cue, id=number)


def _cues(segment: Segment, layout: Layout) -> Iterator[Segment]:
    parts = _parts(segment) if segment.words else []
    if parts:
        return _timed_cues(segment, parts, layout)
    return _shared_cues(segment, layout)


def _shared_cues(segment: Segment, layout: Layout) -> Iterator[Segment]:
    lines = _wrapped(segment.text, layout)
    most = layout.lines or max(1, len(lines))
    texts = ["\n".join(lines[first : first + most]) for first in range(0, len(lines), most)]
    said, whole = 0, sum(map(len, texts))
    for cue in texts:
        start = segment.start + (segment.end - segment.start) * said / max(1, whole)
        said += len(cue)
        end = segment.start + (segment.end - segment.start) * said / max(1, whole)
        yield replace(segment, start=start, end=end, text=cue)


def _wrapped(text: str, layout: Layout) -> list[str]:
    text = " ".join(text.split())
    return textwrap.wrap(text, layout.width) if layout.width else [text]


def _parts(segment: Segment) -> list[str]:
    """The text cut before each of its words, so that the parts together are the text; empty where they do not agree."""
    text = " ".join(segment.text.split())
    found = words_of(text)
    if [word[0] for word in found] != [word.text for word in segment.words or ()]:
        return []
    starts = [word.start() for word in found]
    return [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]


def _timed_cues(segment: Segment, parts: Sequence[str], layout: Layout) -> Iterator[Segment]:
    words = segment.words or ()
    cuts = _cuts(parts, words, layout)
    for first, stop in zip([0, *cuts], [*cuts, len(words)], strict=True):
        following = words[stop].start if stop < len(words) else max(segment.end, words[-1].end)
        text = "".join(parts[first:stop]).strip()
        needed = max(layout.shortest or 0.0, len(text) / layout.speed if layout.speed else 0.0)
        start = words[first].start
        end = max(words[stop - 1].end, min(start + needed, following))
        lines = "\n".join(_wrapped(text, layout))
        yield replace(segment, start=start, end=end, text=lines, words=tuple(words[first:stop]))


def _cuts(parts: Sequence[str], words: Sequence[TimedWord], layout: Layout) -> list[int]:
    """The numbers of the words that begin a cue, but for the first: the cheapest way to keep the limits.

    A limit that one word alone breaks is broken.
    """
    if layout.words:
        return list(range(layout.words, len(words), layout.words))
    costs = [0.0] + [float("inf")] * len(words)
    begins = [0] * (len(words) + 1)
    for stop in range(1, len(words) + 1):
        for first in range(stop - 1, -1, -1):
            if stop - first > 1 and not _fits(parts[first:stop], words[first:stop], layout):
                break
            cost = costs[first] + _cost(parts, words, first, stop, layout)
            if cost < costs[stop]:
                costs[stop], begins[stop] = cost, first
    cuts: list[int] = []
    stop = begins[len(words)]
    while stop:
        cuts.append(stop)
        stop = begins[stop]
    return cuts[::-1]


def _fits(parts: Sequence[str], words: Sequence[TimedWord], layout: Layout) -> bool:
    if layout.longest and words[-1].end - words[0].start > layout.longest:
        return False
    return not layout.lines or len(_wrapped("".join(parts), layout)) <= layout.lines


def _cost(parts: Sequence[str], words: Sequence[TimedWord], first: int, stop: int, layout: Layout) -> float:
    """Return the cost of a cue of these words: for existing, for its end, for being short, for spanning sentences."""
    cost = 1.0
    if stop < len(words):
        cost += _break_cost(parts[stop - 1], words[stop].start - words[stop - 1].end)
    until = words[stop].start if stop < len(words) else words[stop - 1].end
    if layout.shortest and until - words[first].start < layout.shortest:
        cost += 2.0
    return cost + 1.5 * sum(_ends(part, _SENTENCE_ENDS) for part in parts[first : stop - 1])


def _break_cost(part: str, pause: float) -> float:
    if _ends(part, _SENTENCE_ENDS):
        return 0.0
    if _ends(part, _CLAUSE_ENDS):
        return 0.3
    return 0.6 if pause >= _HESITATION_S else 2.0


def _ends(part: str, marks: str) -> bool:
    """Whether a word, with what follows it, ends in one of `marks`."""
    bare = part.strip().rstrip(_CLOSING)
    return bare[-1:] in marks if bare else False
