"""The recording of tests/speech/word_times, with the times of its words."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import soundfile

from gemma_cli.core.messages import SAMPLE_RATE
from training.data.timed_speech import segment

FIXTURE = Path(__file__).parents[2] / "speech" / "word_times" / "timed_speech.ogg"


def write_fixture(languages: tuple[str, ...]) -> None:
    rng = random.Random(7)
    rows, sound, at = [], [], 0.0
    for number in range(24):
        one = segment(rng, languages[number // 6], 1, lively=number % 2 == 1)
        later = [
            [word, *(None if moment is None else round(at + moment, 3) for moment in moments)]
            for word, *moments in one.words
        ]
        rows.append({"language": one.language, "text": one.text, "words": later})
        sound += [one.samples, np.random.default_rng(1).standard_normal(11_200).astype(np.float32) * 2e-4]
        at += (len(one.samples) + 11_200) / SAMPLE_RATE
    soundfile.write(FIXTURE, np.concatenate(sound), SAMPLE_RATE, format="OGG", subtype="OPUS")
    FIXTURE.with_suffix(".json").write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n")
