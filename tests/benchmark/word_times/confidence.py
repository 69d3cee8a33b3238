"""How often a word is right, by its probability."""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np

from gemma_cli.core.engine import Engine
from gemma_cli.speech.pipeline import Task
from tests.benchmark.word_times.starts import heard
from training.data.timed_speech import TimedSegment

BANDS = ((0.99, 1.01), (0.9, 0.99), (0.5, 0.9), (0.0, 0.5))


def measure(spoken: list[TimedSegment], task: Task, engine: Engine) -> None:
    """Print the share of right words in each band of probability; the words of a segment are matched in order."""
    found: list[tuple[float, bool]] = []
    for one in spoken:
        words = [word for _, turn in heard(task, engine, one) for word in turn.words or ()]
        written = [word.text for word in words]
        right: set[int] = set()
        for match in SequenceMatcher(None, written, one.text.split(), autojunk=False).get_matching_blocks():
            right.update(range(match.a, match.a + match.size))
        found += [(word.probability, number in right) for number, word in enumerate(words)]
    table = np.array(found)
    print(f"confidence at 0 to 12 dB: {len(spoken)} segments, {len(found)} words, {np.mean(table[:, 1]):.0%} right")
    for low, high in BANDS:
        band = table[(table[:, 0] >= low) & (table[:, 0] < high), 1]
        if len(band):
            print(f"  {low} <= p < {min(high, 1.0)}: {np.mean(band):.1%} of {len(band)} right", flush=True)
