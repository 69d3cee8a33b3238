"""From a reply and its alignment to timed words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import exp

import numpy as np

from gemma_cli.core.events import Alignment, TimedWord, Turn
from gemma_cli.media.segmenter import Piece
from gemma_cli.speech.word_times.align import boundaries
from gemma_cli.speech.word_times.voiced import voiced_steps
from gemma_cli.text.overlap import words

ATTENTIVE = 0.35
"""Least share of attention that must lie on a rising path through the sound. Below it the model did not listen: where
it wrote the right text on pocket the share was 0.8, for another text 0.2."""


@dataclass(frozen=True)
class SoundPlace:
    """What the times of words need of a segment's sound. begin: of the sound in the recording, in seconds; voiced: bool
    [steps] of 10 ms."""

    begin: float
    voiced: np.ndarray = field(compare=False, repr=False)

    @classmethod
    def of(cls, piece: Piece) -> SoundPlace:
        voiced = voiced_steps(piece.audio.samples, piece.lead, piece.lead + piece.end - piece.start)
        return cls(piece.start - piece.lead, voiced)


def with_words(turn: Turn, place: SoundPlace) -> Turn:
    """Return the turn with timed words in place of its alignment; with None for words that cannot be timed."""
    logprobs = turn.alignment.logprobs if turn.alignment else ()
    average = round(sum(logprobs) / len(logprobs), 4) if logprobs else None
    return replace(turn, alignment=None, words=timed_words(turn, place), avg_logprob=average)


def timed_words(turn: Turn, place: SoundPlace) -> tuple[TimedWord, ...] | None:
    """Return the words of a reply with their times in the recording.

    None where the reply has no alignment, or is no plain text, or where the model did not listen to the sound.
    """
    alignment = turn.alignment
    if alignment is None:
        return None
    text = "".join(alignment.pieces)
    found = words(text)
    if text.strip() != turn.text.strip() or not found or not place.voiced.any():
        return None
    begins = [0, *(word.end() for word in found[:-1])]  # the space before a word is part of it
    tokens = [_tokens(alignment.pieces, begin, word.end()) for begin, word in zip(begins, found, strict=True)]
    attention = attended(alignment, [_last_spoken(alignment.pieces, numbers) for numbers in tokens])
    if attention is None:
        return None
    texts = [word[0] for word in found]
    starts, ends = boundaries(texts, place.voiced, attention)
    return tuple(
        TimedWord(
            word,
            round(place.begin + float(start), 3),
            round(place.begin + float(end), 3),
            round(exp(sum(alignment.logprobs[number] for number in numbers)), 4),
        )
        for word, start, end, numbers in zip(texts, starts, ends, tokens, strict=True)
    )


def attended(alignment: Alignment, rows: Sequence[int]) -> np.ndarray | None:
    """Return the attention of these tokens, float32 [rows, frames], over the heads that follow the sound.

    Those are the heads whose path mass is at least half the best. None where even the best does not listen.
    """
    heads = alignment.attention[:, list(rows)]
    masses = np.array([path_mass(head) for head in heads])
    if masses.max() < ATTENTIVE:
        return None
    chosen: np.ndarray = heads[masses >= masses.max() / 2].mean(0)
    return chosen


def path_mass(attention: np.ndarray) -> float:
    """Return the mean attention within a frame of the best rising path through float32 [rows, frames]."""
    near = attention.copy()
    near[:, 1:] += attention[:, :-1]
    near[:, :-1] += attention[:, 1:]
    best = near[0]
    for row in near[1:]:
        before = np.maximum.accumulate(best)[:-2]
        best = row + np.concatenate((np.full(2, -np.inf), before))[: len(row)]
    return float(best.max()) / len(near)


def _tokens(pieces: Sequence[str], start: int, end: int) -> list[int]:
    """The numbers of the tokens that write characters start .. end - 1 of the text.

    A token without text is the first bytes of the next character.
    """
    edges = np.cumsum([0, *map(len, pieces)])
    stops = np.maximum(edges[1:], edges[:-1] + 1)
    return [number for number in range(len(pieces)) if edges[number] < end and stops[number] > start]


def _last_spoken(pieces: Sequence[str], numbers: Sequence[int]) -> int:
    """The last of these tokens that holds a letter or a digit: punctuation is not heard."""
    spoken = [number for number in numbers if any(map(str.isalnum, pieces[number]))]
    return (spoken or list(numbers))[-1]
