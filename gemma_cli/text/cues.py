"""SubRip and WebVTT taken apart: the words of cues are text; numbers, times, settings, notes and styles stay.

A sentence that runs over several cues is one text, so that it is translated as one, and its translation is laid back
over the same cues. Times of single words within a cue (captions made by machines have them) belong to the original's
words and go.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gemma_cli.text.overlap import words
from gemma_cli.text.passages import Passage

MOST_CUES = 4
"""Cues in one text. Captions made by machines have no sentences; these are parted after so many."""

LONGEST_GAP = 2.0
"""Seconds between two cues that share a sentence."""

_TIME = r"(?:\d+:)?\d{1,2}:\d{2}[,.]\d{3}"
_TIMES = re.compile(rf"\s*({_TIME})\s*-->\s*({_TIME}).*")
_LEADING_TAGS = re.compile(r"(?:<[^>\n]*>|\{\\[^}\n]*\}|-\s)*\s*")
_TRAILING_TAGS = re.compile(r"(?:\s|</[^>\n]*>)*\Z")
_WORD_TIMES = re.compile(rf"<{_TIME}>|</?c(?:\.[^>\n]*)?>")
_ENDED = re.compile(r"[.!?…:。！？♪\])][\"'”’»)\]]*\Z")
_TRAILS_OFF = re.compile(r"(?:\.\.\.|…)\Z")
_BEGINS_ANEW = re.compile(r"[-–—\[(♪#]")
_SPEAKER = re.compile(r"<v[ .]|-\s")
_SENTENCE_END = re.compile(r"[.!?…]+[\"”»)]*(?=\s)|[。！？]")
_PAUSES = ",;:.!?…–—，、；。"


@dataclass(frozen=True)
class Cue(Passage):
    """shown: from when to when, in seconds."""

    shown: tuple[float, float] = (0.0, 0.0)

    def translated(self, translation: str) -> str:
        """In as many lines as before, if they are given in one; an arrow, which would make it a time, is replaced."""
        lines = (self.text or "").count("\n") + 1
        if lines > 1 and "\n" not in translation.strip():
            translation = _balanced(" ".join(translation.split()), lines)
        return super().translated(translation.replace("-->", "→"))


@dataclass(frozen=True)
class Sentence(Passage):
    """Cues that share a sentence, with what stands between them. text: their words in one line."""

    cues: tuple[Cue, ...] = ()
    between: tuple[str, ...] = ()

    def translated(self, translation: str) -> str:
        """Laid back over the cues, of which none stays empty."""
        parts = lay_back(" ".join(translation.split()), [_flat(cue) for cue in self.cues])
        shown = [cue.translated(part) for cue, part in zip(self.cues, parts, strict=True)]
        return "".join(part for pair in zip(shown, [*self.between, ""], strict=True) for part in pair)


def begins_like_subtitles(document: str) -> bool:
    """Whether a text is WebVTT or SubRip; its beginning is enough."""
    lines = [line.strip() for line in document.lstrip("\ufeff\r\n ").splitlines()[:2]]
    return bool(lines) and (lines[0].startswith("WEBVTT") or (len(lines) > 1 and bool(_TIMES.fullmatch(lines[1]))))


def times(document: str) -> list[str]:
    """The lines of a document that say when its cues are shown."""
    return [line.strip() for line in document.splitlines() if _TIMES.fullmatch(line)]


def subtitles(document: str) -> Iterator[Passage]:
    """Cues, and between them what stays; cues that share a sentence are one passage."""
    cues: list[Cue] = []
    between: list[str] = []
    held = ""
    for passage in _passages(document):
        if not isinstance(passage, Cue):
            held += passage.source
            continue
        if cues and len(cues) < MOST_CUES and _goes_on(cues[-1], held, passage):
            between.append(held)
            cues.append(passage)
        else:
            yield from _together(cues, between)
            yield from [Passage(held)] if held else []
            cues, between = [passage], []
        held = ""
    yield from _together(cues, between)
    yield from [Passage(held)] if held else []


def lay_back(translation: str, originals: Sequence[str]) -> list[str]:
    """A translation in one line, in as many parts as its original had, as long in proportion; at pauses if near.

    Where both have equally many sentences each stays where it was. Words are not parted: a part that would be empty
    says what the one before says, which then stays on the screen.
    """
    starts = [word.start() for word in words(translation) if _may_begin(translation, word.start())]
    wanted = len(originals) - 1
    if len(starts) <= wanted:
        parts = _cut(translation, starts[1:])
        return parts + parts[-1:] * (len(originals) - len(parts))
    anchors = _anchors(" ".join(originals), translation)
    share = len(translation) / len(originals)
    cuts: list[int] = []
    chosen = position = 0
    for number, original in enumerate(originals[:wanted], 1):
        position += len(original) + 1
        aim = _opposite(anchors, position)
        near = share / (2 if original[-1:] in _PAUSES else 4)
        left = range(chosen + 1, len(starts) - wanted + number)
        chosen = min(left, key=lambda i: abs(starts[i] - aim) - near * _after_a_pause(translation, starts[i]))
        cuts.append(starts[chosen])
    return _cut(translation, cuts)


def _cut(text: str, places: Sequence[int]) -> list[str]:
    return [text[start:end].strip() for start, end in pairwise([0, *places, len(text)])]


def _may_begin(text: str, place: int) -> bool:
    """Not with the mark that ends what stands before it, in scripts without spaces."""
    return text[place].isalnum() or place == 0 or text[place - 1].isspace()


def _after_a_pause(text: str, place: int) -> bool:
    return text[:place].rstrip()[-1:] in _PAUSES


def _anchors(original: str, translation: str) -> list[tuple[int, int]]:
    """Places in both that belong together: begin, end, and the ends of sentences if there are as many."""
    ends = [[match.end() for match in _SENTENCE_END.finditer(text)] for text in (original, translation)]
    pairs = list(zip(*ends, strict=True)) if len(ends[0]) == len(ends[1]) else []
    whole = (len(original), len(translation))
    return [(0, 0), *(pair for pair in pairs if pair[0] < whole[0] and pair[1] < whole[1]), whole]


def _opposite(anchors: list[tuple[int, int]], place: int) -> float:
    """The place in the translation for one in the original, straight between the anchors around it."""
    for (left, begun), (right, ended) in pairwise(anchors):
        if place <= right:
            return begun + (ended - begun) * (place - left) / max(1, right - left)
    return anchors[-1][1]


def _balanced(text: str, lines: int) -> str:
    """In at most so many lines, about equally long."""
    width = max(1, -(-len(text) // lines))
    while len(wrapped := textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)) > lines:
        width += 1
    return "\n".join(wrapped)


def _together(cues: list[Cue], between: list[str]) -> list[Passage]:
    if len(cues) < 2:
        return list(cues)
    source = "".join(part for cue, after in zip(cues, [*between, ""], strict=True) for part in (cue.source, after))
    return [Sentence(source, " ".join(map(_flat, cues)), cues=tuple(cues), between=tuple(between))]


def _flat(cue: Passage) -> str:
    return " ".join((cue.text or "").split())


def _goes_on(cue: Cue, between: str, following: Cue) -> bool:
    """Whether a sentence goes on from one cue to the next, told by how the one ends and the other begins."""
    if len([line for line in between.splitlines() if line.strip()]) > 2:  # more than a number and the times: a note
        return False
    if following.shown[0] - cue.shown[1] > LONGEST_GAP or _SPEAKER.search(following.before):
        return False
    before, after = _flat(cue), _flat(following)
    if before.isupper() or after.isupper() or _BEGINS_ANEW.match(after) or "\n-" in (cue.text or ""):
        return False
    if _TRAILS_OFF.search(before):
        return after[:1].islower() or after.startswith((".", "…"))
    return not _ENDED.search(before)


def _passages(document: str) -> Iterator[Passage]:
    """Every cue by itself, and what is between them."""
    held = ""
    body: list[str] | None = None
    shown = (0.0, 0.0)
    for line in [*document.splitlines(keepends=True), ""]:
        if body is not None and line.strip():
            body.append(line)
            continue
        if body:
            yield Passage(held)
            yield _cue("".join(body), shown)
            held = ""
        found = _TIMES.fullmatch(line.rstrip("\r\n"))
        body = [] if found else None
        shown = (_seconds(found[1]), _seconds(found[2])) if found else shown
        held += line
    if held:
        yield Passage(held)


def _cue(source: str, shown: tuple[float, float]) -> Passage:
    body = source.rstrip("\r\n")
    before = _LEADING_TAGS.match(body)
    lead = before[0] if before else ""
    after = _TRAILING_TAGS.search(body, len(lead))
    trail = after[0] if after else ""
    text = _WORD_TIMES.sub("", body[len(lead) : len(body) - len(trail)])
    newline = "\r\n" if "\r\n" in source else "\n"
    if not any(character.isalpha() for character in text):
        return Passage(source)
    lead, trail = (_WORD_TIMES.sub("", tags) for tags in (lead, trail))
    return Cue(source, "\n".join(text.splitlines()), lead, trail + source[len(body) :], newline, shown)


def _seconds(time: str) -> float:
    hours, minutes, seconds = ["0", *time.replace(",", ".").split(":")][-3:]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
