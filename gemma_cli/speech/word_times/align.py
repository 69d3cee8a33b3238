"""A dynamic programme over the voiced part of a segment: one boundary after each word, in order.

Three things speak for a boundary, and their logarithms are added: the attention of the model (a spike at the end of
each word), a pause (the longer the better, most of all after punctuation), and a length of the word that fits its
letters. None of them is enough. Pauses alone lock on to hesitations and shift whole sentences; attention alone is a
frame of 40 ms and misses words.
"""

from __future__ import annotations

import numpy as np

from gemma_cli.speech.word_times.voiced import STEP_S

FRAME_S = 0.04
"""Seconds of sound behind one token of it (Gemma 4's audio encoder)."""

SPIKE_S = 0.065
"""Seconds from the end of a word to the middle of its spike: measured on pocket, where the times are known."""

_LONGEST = 160
"""Steps of voice in one word."""

_PAUSE, _PAUSE_AFTER_PUNCTUATION = 3.0, 4.0
"""Logarithm of the odds for a boundary in a pause of 0.1 s; it grows up to 0.4 s."""

_LEAST = 2e-3
"""Attention that counts as none."""

_SPREAD, _SLOP = 0.3, 4.0
"""Deviation of a word's length: as a share of what its letters would take, and in steps."""


def boundaries(
    words: list[str], voiced: np.ndarray, attention: np.ndarray | None, offset_s: float = SPIKE_S
) -> tuple[np.ndarray, np.ndarray]:
    """Return the starts and ends of words in seconds of the segment, each float64 [words].

    voiced: bool [steps]. attention: float32 [words, frames], the weights that the last token of each word gives; None:
    pauses and lengths alone. offset_s: seconds from the end of a word to its spike.
    """
    steps = np.flatnonzero(voiced)
    count = len(words)
    if len(steps) < count:
        return _shared(words, steps)
    times = steps * STEP_S + STEP_S / 2
    lengths = np.array([_letters(word) for word in words]) + 1.5
    expected = lengths / lengths.sum() * len(steps)
    gaps = np.append(np.diff(steps) - 1, 0) * STEP_S
    pauses = np.minimum(gaps, 0.4) / 0.1
    durations = np.arange(1, _LONGEST + 1)
    scores = np.full(len(steps), -np.inf)
    came_from = np.zeros((count, len(steps)), np.int32)
    spikes = None if attention is None else _spikes(attention, times + offset_s)
    for index, word in enumerate(words):
        fits = -0.5 * ((durations - expected[index]) / (_SPREAD * expected[index] + _SLOP)) ** 2
        if index == 0:
            following = np.full(len(steps), -np.inf)
            most = min(_LONGEST, len(steps))
            following[:most] = fits[:most]
        else:
            padded = np.concatenate((np.full(_LONGEST, -np.inf), scores))
            before = np.lib.stride_tricks.sliding_window_view(padded, _LONGEST)[: len(steps)]
            reached = before + fits[::-1]
            best = reached.argmax(1)
            following = np.take_along_axis(reached, best[:, None], 1)[:, 0]
            came_from[index] = np.arange(len(steps)) - _LONGEST + best
        if index < count - 1:
            following = following + pauses * (_PAUSE_AFTER_PUNCTUATION if word[-1:] in ".?!,;:…" else _PAUSE)
        if spikes is not None:
            following = following + spikes[index]
        scores = following
    return _path(came_from, scores, steps)


def _spikes(attention: np.ndarray, times: np.ndarray) -> np.ndarray:
    """What the attention of each word says of a spike at each of `times`: float [words, times]."""
    padded = np.pad(attention, ((0, 0), (1, 1)))
    smooth = np.maximum(attention, 0.5 * np.maximum(padded[:, :-2], padded[:, 2:]))
    frames = np.round((times + STEP_S / 2) / FRAME_S - 0.5).astype(int)
    spikes: np.ndarray = np.log(smooth + _LEAST)[:, np.clip(frames, 0, attention.shape[1] - 1)]
    return spikes


def _path(came_from: np.ndarray, scores: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    last = [len(steps) - 1]
    if not np.isfinite(scores[-1]):
        last = [int(np.argmax(np.where(np.isfinite(scores), np.arange(len(scores)), -1)))]
    for index in range(len(came_from) - 1, 0, -1):
        last.append(int(came_from[index, last[-1]]))
    ends = np.array(last[::-1])
    firsts = np.concatenate(([0], ends[:-1] + 1))
    return steps[firsts] * STEP_S, (steps[ends] + 1) * STEP_S


def _shared(words: list[str], steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By letters alone, where there is less voice than words."""
    start, end = (steps[0] * STEP_S, (steps[-1] + 1) * STEP_S) if len(steps) else (0.0, 0.0)
    lengths = np.array([_letters(word) for word in words]) + 1.5
    edges = start + (end - start) * np.concatenate(([0.0], lengths.cumsum() / lengths.sum()))
    return edges[:-1], edges[1:]


def _letters(word: str) -> int:
    """Letters of a word as it is spoken: a digit takes about as long as four."""
    return max(1, sum(4 if letter.isdigit() else letter.isalnum() for letter in word))
