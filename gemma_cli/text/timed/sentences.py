"""Cues as passages: a sentence that runs over several cues is translated as one and laid back over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.blocks import Block, Cue
from gemma_cli.text.timed.lay_back import lay_back
from gemma_cli.text.timed.marked import Marked, flat, marked
from gemma_cli.text.timed.markup import Markup

MOST_CUES = 4
"""Cues in one text. Captions made by machines have no sentences; these are cut after so many."""

LONGEST_GAP = 2.0
"""Seconds between two cues that share a sentence."""

_ENDED = re.compile(r"[.!?…:。！？♪\])][\"'”’»)\]]*\Z")
_TRAILS_OFF = re.compile(r"(?:\.\.\.|…)\Z")
_BEGINS_ANEW = re.compile(r"[-–—\[(♪#]")
_DASH = re.compile(r"[-–—‐]\s*(?=[^\W\d]|[<{\"'“„«(\[¿¡…♪.])")


@dataclass(frozen=True)
class Sentence(Passage):
    """Cues that share a sentence, with what stands between them. text: their words in one line."""

    cues: tuple[Marked, ...] = ()
    between: tuple[str, ...] = ()

    def translated(self, translation: str) -> str:
        """Return the cues with the translation laid back over them; none is left empty."""
        if flat(translation) == self.text:
            return self.source
        parts = lay_back(flat(translation), [cue.text or "" for cue in self.cues])
        shown = [cue.translated(part) for cue, part in zip(self.cues, parts, strict=True)]
        return "".join(part for pair in zip(shown, [*self.between, ""], strict=True) for part in pair)

    def misplaced(self, translation: str) -> list[str]:
        """Return the tags of all cues that have no exact place in the translation."""
        if flat(translation) == self.text:
            return []
        return [raw for cue in self.cues for raw in cue.misplaced(translation)]


def passages(blocks: Iterable[Block], markup: Markup) -> Iterator[Passage]:
    """Turn blocks into passages: structure, single cues, and sentences over several cues."""
    cues: list[tuple[Cue, Marked]] = []
    between: list[str] = []
    waiting: list[Passage] = []
    for block in blocks:
        found = list(_speakers(block.source, markup)) if isinstance(block, Cue) else []
        if not isinstance(block, Cue) or not any(passage.text for passage in found):
            waiting.append(Passage(block.source, unknown=not isinstance(block, Cue) and block.unknown))
            continue
        words = found[0] if len(found) == 1 and isinstance(found[0], Marked) else None
        if words and cues and len(cues) < MOST_CUES and _continues(*cues[-1], waiting, block, words):
            between.append("".join(passage.source for passage in waiting))
            cues.append((block, words))
        else:
            yield from _together(cues, between)
            yield from waiting
            cues, between = ([(block, words)] if words else []), []
            yield from [] if words else found
        waiting = []
    yield from _together(cues, between)
    yield from waiting


def _speakers(source: str, markup: Markup) -> Iterator[Passage]:
    """Split a cue before the dash of each speaker. Dashes stay and are not translated."""
    starts = [0, *(found.end() for found in re.finditer(markup.line_break, source) if found[0])]
    dashes = [(start, dash) for start in starts if (dash := _dash(source, start, markup)) is not None]
    position = 0
    for start, dash in dashes:
        if dash <= position:  # two line breaks before it: it was found after the first
            continue
        if start > position:
            yield marked(source[position:start], markup)
        yield Passage(source[start:dash])
        position = dash
    if position < len(source):
        yield marked(source[position:], markup)


def _dash(source: str, start: int, markup: Markup) -> int | None:
    """Return where a dash and the blanks after it end, if a line begins with one, after tags or not."""
    while (tag := markup.tag.match(source, start)) or source[start : start + 1] in (" ", "\t"):
        start = tag.end() if tag else start + 1
    found = _DASH.match(source, start)
    return found.end() if found else None


def _together(cues: list[tuple[Cue, Marked]], between: list[str]) -> list[Passage]:
    if len(cues) < 2:
        return [words for _, words in cues]
    parts = tuple(words for _, words in cues)
    source = "".join(part for words, after in zip(parts, [*between, ""], strict=True) for part in (words.source, after))
    return [Sentence(source, " ".join(words.text or "" for words in parts), cues=parts, between=tuple(between))]


def _continues(cue: Cue, words: Marked, between: list[Passage], following: Cue, next_words: Marked) -> bool:
    """Return whether a sentence continues in the next cue, judged by how the one ends and the other begins."""
    lines = [line for passage in between for line in passage.source.splitlines() if line.strip()]
    if len(lines) > 2 or any(passage.unknown for passage in between):  # more than a number and the times: a note
        return False
    if cue.voice is None or following.voice is None or (following.voice and following.voice != cue.voice):
        return False
    if following.shown[0] < cue.shown[0] or following.shown[0] - cue.shown[1] > LONGEST_GAP:
        return False
    before, after = words.text or "", next_words.text or ""
    if before.isupper() or after.isupper() or _BEGINS_ANEW.match(after):
        return False
    if _TRAILS_OFF.search(before):
        return after[:1].islower() or after.startswith((".", "…"))
    return not _ENDED.search(before)
