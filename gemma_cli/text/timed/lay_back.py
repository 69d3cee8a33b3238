"""Cutting a translation into as many parts as its original had, in proportion and at pauses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from gemma_cli.text.overlap import words

_SENTENCE_END = re.compile(r"[.!?…]+[\"”»)]*(?=\s)|[。！？]")
_PAUSES = ",;:.!?…–—，、；。"


def lay_back(translation: str, originals: Sequence[str]) -> list[str]:
    """Cut a translation in one line into as many parts as its original had, none of them empty.

    Words are not cut. Where there are fewer words than parts, the last part is repeated, so that it stays on the
    screen.
    """
    parts = _cut(translation, cut_places(translation, originals))
    return parts + parts[-1:] * (len(originals) - len(parts))


def cut_places(translation: str, originals: Sequence[str]) -> list[int]:
    """Return where each part but the first begins: at most one place less than there are originals.

    The lengths of the parts are proportional to those of the originals. A cut moves to a pause nearby, and if both
    texts have the same number of sentences, each sentence stays in its part.
    """
    starts = [word.start() for word in words(translation) if _may_begin(translation, word.start())]
    wanted = len(originals) - 1
    if len(starts) <= wanted:
        return starts[1:]
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
    return cuts


def _cut(text: str, places: Sequence[int]) -> list[str]:
    return [text[start:end].strip() for start, end in pairwise([0, *places, len(text)])]


def _may_begin(text: str, place: int) -> bool:
    """Return False for a mark that ends what stands before it, in scripts without spaces."""
    return text[place].isalnum() or place == 0 or text[place - 1].isspace()


def _after_a_pause(text: str, place: int) -> bool:
    return text[:place].rstrip()[-1:] in _PAUSES


def _anchors(original: str, translation: str) -> list[tuple[int, int]]:
    """Pair places in both texts: begin, end, and the ends of sentences if there are as many."""
    ends = [[match.end() for match in _SENTENCE_END.finditer(text)] for text in (original, translation)]
    pairs = list(zip(*ends, strict=True)) if len(ends[0]) == len(ends[1]) else []
    whole = (len(original), len(translation))
    return [(0, 0), *(pair for pair in pairs if pair[0] < whole[0] and pair[1] < whole[1]), whole]


def _opposite(anchors: list[tuple[int, int]], place: int) -> float:
    """Return the place in the translation for one in the original, interpolated between anchors."""
    for (left, begun), (right, ended) in pairwise(anchors):
        if place <= right:
            return begun + (ended - begun) * (place - left) / max(1, right - left)
    return anchors[-1][1]
