"""Cues of a long recording with few pauses: do they begin when their sentences do?"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from gemma_cli.core.messages import SAMPLE_RATE
from training.data.timed_speech import segment

SENTENCES = (2, 6)
"""Sentences between two pauses that are long enough for a cut."""

_CUE = re.compile(r"(\d+):(\d+):([\d,]+) --> .*\n((?:.+\n)+)")


def recording(rng: random.Random, minutes: float) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Return English speech with a pause of 0.8 s after every few sentences, and the start of each sentence."""
    sound: list[np.ndarray] = []
    sentences: list[tuple[str, float]] = []
    at = 0.0
    while at < 60 * minutes:
        one = segment(rng, "en", rng.randint(*SENTENCES), lively=True)
        words: list[str] = []
        begin: float | None = None
        for word, start, _ in one.words:
            begin = start if not words else begin
            words.append(word)
            if word[-1] in ".?!":
                if begin is not None:
                    sentences.append((" ".join(words), at + begin))
                words = []
        sound += [one.samples, np.zeros(round(0.8 * SAMPLE_RATE), np.float32)]
        at += sum(map(len, sound[-2:])) / SAMPLE_RATE
    return np.concatenate(sound), sentences


def measure(rng: random.Random, minutes: float, model: str) -> None:
    samples, sentences = recording(rng, minutes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.wav"
        soundfile.write(path, samples, SAMPLE_RATE)
        command = [sys.executable, "-m", "gemma_cli", "transcribe", str(path), "--model", model, "--format", "srt"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cues = [
        (" ".join(text.split()), int(hours) * 3600 + int(minute) * 60 + float(seconds.replace(",", ".")))
        for hours, minute, seconds, text in _CUE.findall(output)
    ]
    errors: list[float] = []
    last = 0
    for text, start in sentences:
        here = next((n for n in range(last, len(cues)) if cues[n][0] == text and abs(cues[n][1] - start) < 8), None)
        if here is not None:
            errors.append(abs(cues[here][1] - start))
            last = here + 1
    print(
        f"cues of {minutes:g} minutes with a pause every {SENTENCES[0]} to {SENTENCES[1]} sentences: {len(errors)} of "
        f"{len(sentences)} sentences have a cue of their own; starts off by mean {np.mean(errors):.3f} s, "
        f"90 % {np.percentile(errors, 90):.3f}, largest {max(errors):.2f}",
        flush=True,
    )
