"""Joining of two transcripts where the second begins with the end of the first.

Where speech had to be cut, the last seconds of one piece are heard again at the start of the next. The words at the
cut itself are heard badly on both sides, half a word each, so the texts are joined in the middle of the longest run of
words they share: each gives the words it heard whole.
"""

from __future__ import annotations

import math
import re
from difflib import SequenceMatcher

# Scripts written without spaces count by character: kana, CJK ideographs, Thai, Lao, Khmer, Burmese.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_SPARE = 3  # words beyond what the overlap should hold: nobody speaks evenly


def words(text: str) -> list[re.Match[str]]:
    """The words of a text, each with its place in it."""
    return list(_WORD.finditer(text))


def plain(word: str) -> str:
    """Normalise a word: without case and punctuation, unless it is nothing else."""
    return re.sub(r"[^\w]", "", word.casefold()) or word


def join(left: str, right: str, left_share: float, right_share: float) -> tuple[str, str]:
    """Return the two texts without their common words.

    left_share, right_share: how much of the sound of each is in both. Texts that share no words there stay whole.
    """
    before, after = words(left), words(right)
    tail = before[-_reach(len(before), left_share) :]
    head = after[: _reach(len(after), right_share)]
    ends, begins = [plain(word[0]) for word in tail], [plain(word[0]) for word in head]
    match = SequenceMatcher(None, ends, begins, autojunk=False).find_longest_match()
    lost = len(ends) - (match.a + match.size) + match.b
    if not match.size or lost > 2 * match.size:  # one "the" in common is no seam
        return left, right
    middle = (match.size + 1) // 2
    kept = tail[match.a + middle - 1].end()
    rest = head[match.b + middle :] or after[match.b + middle :]
    return left[:kept].strip(), right[rest[0].start() :].strip() if rest else ""


def _reach(count: int, share: float) -> int:
    return min(count, math.ceil(count * share) + _SPARE)
