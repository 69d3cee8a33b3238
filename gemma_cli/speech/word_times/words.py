"""From a reply and its alignment to timed words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import exp

import numpy as np

from gemma_cli.core.events import Alignment, TimedWord, Turn
from gemma_cli.media.segmenter import Piece
from gemma_cli.speech.word_times.align import SPIKE_S, boundaries
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
    spelled = spelled_words(alignment)
    if text.strip() != turn.text.strip() or not spelled or not place.voiced.any():
        return None
    attention = attended(alignment, [word.row for word in spelled])
    if attention is None:
        return None
    offset = alignment.calibration.offset_s if alignment.calibration else SPIKE_S
    starts, ends = boundaries([word.text for word in spelled], place.voiced, attention, offset)
    return tuple(
        TimedWord(
            word.text,
            round(place.begin + float(start), 3),
            round(place.begin + float(end), 3),
            round(exp(sum(alignment.logprobs[number] for number in word.tokens)), 4),
        )
        for word, start, end in zip(spelled, starts, ends, strict=True)
    )


@dataclass(frozen=True)
class SpelledWord:
    """A word of a reply. tokens: the numbers of those that write it; row: of these the last that is spoken."""

    text: str
    tokens: list[int]
    row: int


def spelled_words(alignment: Alignment) -> list[SpelledWord]:
    """Return the words of a reply with their tokens."""
    found = words("".join(alignment.pieces))
    begins = [0, *(word.end() for word in found[:-1])]  # the space before a word is part of it
    tokens = [_tokens(alignment.pieces, begin, word.end()) for begin, word in zip(begins, found, strict=False)]
    return [
        SpelledWord(word[0], numbers, _last_spoken(alignment.pieces, numbers))
        for word, numbers in zip(found, tokens, strict=True)
    ]


def attended(alignment: Alignment, rows: Sequence[int]) -> np.ndarray | None:
    """Return the attention of these tokens, float32 [rows, frames], over the heads that follow the sound.

    Those are the heads of the calibration, else those whose path mass is at least half the best. None where the model
    did not listen.
    """
    heads = alignment.attention[:, list(rows)]
    known = alignment.calibration
    if known and max(known.heads) < len(heads):
        followed: np.ndarray = heads[list(known.heads)].mean(0)
        return followed if path_mass(followed) >= known.mass / 2 else None
    masses = np.array([path_mass(head) for head in heads])
    if masses.max() < ATTENTIVE:
        return None
    chosen: np.ndarray = heads[masses >= masses.max() / 2].mean(0)
    return chosen


def rising_path(attention: np.ndarray) -> np.ndarray:
    """Return the frame of each row on the best rising path through float32 [rows, frames], two apart or more."""
    best, *others = _near(attention)
    none = np.full(2, -np.inf)
    came_from = []
    for row in others:
        leading = np.maximum.accumulate(best)
        leader = np.maximum.accumulate(np.where(best == leading, np.arange(len(best)), 0))
        came_from.append(np.concatenate(([0, 0], leader))[: len(row)])
        best = row + np.concatenate((none, leading))[: len(row)]
    path = [int(best.argmax())]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _near(attention: np.ndarray) -> np.ndarray:
    """Attention within a frame of each place."""
    near = attention.copy()
    near[:, 1:] += attention[:, :-1]
    near[:, :-1] += attention[:, 1:]
    return near


def path_mass(attention: np.ndarray) -> float:
    """Return the mean attention within a frame of the best rising path through float32 [rows, frames]."""
    near = _near(attention)
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
