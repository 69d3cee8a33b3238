"""Telling a model that repeats itself from a person who does.

Decoders of speech fall into loops on noise, music and cuts: one phrase again and again up to the token limit.
"""

from __future__ import annotations

import re

from gemma_cli.text.overlap import plain, words

LONGEST_PHRASE = 24
"""Words in the longest phrase that is looked for."""

_WORD_STUCK = re.compile(r"(\S{1,8}?)\1{23,}")  # "hahahaha...", a word without an end


def _most(length: int) -> int:
    """Return how often a phrase of that many words may repeat. Short ones do in speech: "no no no no", "0 0 0 0 0"."""
    return 8 if length == 1 else 5 if length <= 3 else 3


def loop(text: str) -> slice | None:
    """Return the part of a loop after its first phrase, as a slice of the text; None if nothing loops."""
    stuck = _WORD_STUCK.search(text)
    if stuck:
        return slice(stuck.end(1), stuck.end())
    spoken = words(text)
    said = [plain(word[0]) for word in spoken]
    for length in range(1, min(LONGEST_PHRASE, len(said) // 2) + 1):
        repeated = _repeated(said, length)
        if repeated:
            return slice(spoken[repeated.start - 1].end(), spoken[repeated.stop - 1].end())
    return None


def without_loops(text: str) -> str:
    """Return the text with the phrase of every loop written once."""
    while found := loop(text):
        text = text[: found.start] + text[found.stop :]
    return text


def _repeated(said: list[str], length: int) -> range | None:
    """The words that only repeat what stands `length` before them, if that goes on longer than _most allows."""
    start = length
    for index in range(length, len(said) + 1):
        if index == len(said) or said[index] != said[index - length]:
            if index - start >= length * _most(length):
                return range(start, index)
            start = index + 1
    return None
