"""Where somebody is speaking, in steps of 10 ms: finer than the voice detector, for the edges of words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from gemma_cli.core.messages import SAMPLE_RATE

STEP_S = 0.01
_STEP = round(STEP_S * SAMPLE_RATE)
_FILLED = 8
"""Steps: a shorter silence is part of a word, such as before a plosive."""

_AROUND = 3
"""Steps before and after the detected speech that may belong to it."""

_BELOW_DB = 35.0
"""A step so far below the loud ones is silence, whatever the noise."""


def voiced_steps(samples: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return which steps of float32 samples [n] at SAMPLE_RATE hold a voice: bool [n // 160].

    start, end: the detected speech in seconds. The threshold lies a quarter above the segment's own noise floor.
    """
    count = len(samples) // _STEP
    power = (samples[: count * _STEP].reshape(count, _STEP) ** 2).mean(1)
    level = 10 * np.log10(power + 1e-9)
    quiet, loud = np.percentile(level, (5, 95)) if count else (0.0, 0.0)
    voiced = level > max(quiet + 0.25 * (loud - quiet), loud - _BELOW_DB)
    voiced[: max(0, int(start / STEP_S) - _AROUND)] = False
    voiced[min(count, int(np.ceil(end / STEP_S)) + _AROUND) :] = False
    return _filled(voiced)


def _filled(voiced: np.ndarray) -> np.ndarray:
    """The same without its shortest silences."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], voiced.astype(np.int8), [0]))))
    runs = edges.reshape(-1, 2)
    for (_, stop), (start, _) in pairwise(runs.tolist()):
        if start - stop <= _FILLED:
            voiced[stop:start] = True
    return voiced
