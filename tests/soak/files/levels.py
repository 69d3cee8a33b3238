"""Held-out voices at levels from 0 to -60 dB: as many words right as at full level, and still nothing in noise."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tests.soak.outcome import Outcome

PROMISE = "quiet speech is recognised as well as loud speech, and noise and music stay nothing"

RATE = 16_000
LEVELS_DB = (0, -3, -10, -20, -30, -40, -50, -60)
LANGUAGES = {"en": "English", "de": "German"}
WORSE = 0.03
"""How much the word error at -40 dB may be above that at -3 dB."""


def trial(scale: float) -> Outcome:
    """Transcribe `48 * scale` held-out sentences of each language at every level, and a minute of each noise."""
    failures: list[str] = []
    figures: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for code, language in LANGUAGES.items():
            samples, words = _recording(code, max(4, round(48 * scale)))
            for decibels in LEVELS_DB:
                quiet = np.round(samples * 10 ** (decibels / 20) * 32767).astype(np.int16)
                soundfile.write(folder / f"{code}{-decibels:02}.wav", quiet, RATE)
            heard = _transcribed([folder / f"{code}{-decibels:02}.wav" for decibels in LEVELS_DB], language)
            errors = {
                decibels: _errors(words, _words(text)) / len(words)
                for decibels, text in zip(LEVELS_DB, heard, strict=True)
            }
            figures.append(f"{code}: " + ", ".join(f"{level} dB {error:.1%}" for level, error in errors.items()))
            if errors[-40] > errors[-3] + WORSE:
                failures.append(figures[-1])
        noises = _noises(folder, 60 * min(1.0, scale))
        for path, text in zip(noises, _transcribed(noises, "English"), strict=True):
            if text:
                failures.append(f"{path.name}: {text}")
    return Outcome(len(LEVELS_DB) * len(LANGUAGES) + len(noises), failures, "; ".join(figures))


def _recording(code: str, count: int) -> tuple[np.ndarray, list[str]]:
    """Sentences of voices and words that pocket never heard, with pauses between them, and the words."""
    from training.data import speech, voices

    rng = random.Random(f"levels {code}")
    parts: list[np.ndarray] = []
    words: list[str] = []
    while len(parts) < 2 * count:
        utterance = speech.sample_utterance(rng, code, held_out=True)
        if utterance.kind == "sentence":
            spoken = voices.say(utterance.spoken, voices.sample_voice(rng, code, held_out=True))
            parts += [np.zeros(round(RATE * rng.uniform(0.7, 1.5))), soxr.resample(spoken, voices.SAMPLE_RATE, RATE)]
            words += _words(utterance.written)
    samples = np.concatenate([*parts, np.zeros(RATE)])
    return samples / np.abs(samples).max(), words


def _noises(folder: Path, seconds: float) -> list[Path]:
    """White noise, a chord and a plucked melody, each at three levels."""
    length = round(seconds * RATE)
    time = np.arange(length) / RATE
    notes = 220 * 2 ** (np.random.default_rng(1).integers(0, 13, length // RATE * 2 + 2) / 12)
    pitch = np.repeat(notes, RATE // 2)[:length]
    kinds = {
        "white": np.random.default_rng(0).normal(0, 0.3, length),
        "chord": sum(0.2 * np.sin(2 * np.pi * hertz * time) for hertz in (262, 330, 392)),
        "melody": 0.6 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.exp(-6 * (time % 0.5)),
    }
    paths = []
    for name, samples in kinds.items():
        for decibels in (0, -30, -50):
            paths.append(folder / f"{name}{decibels}.wav")
            soundfile.write(paths[-1], samples * 10 ** (decibels / 20), RATE)
    return paths


def _transcribed(paths: list[Path], language: str) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "gemma_cli",
        "transcribe",
        *map(str, paths),
        "--language",
        language,
        "--json",
        "-q",
    ]
    environment = os.environ | {"GEMMA_MODEL": "pocket"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _errors(said: list[str], heard: list[str]) -> int:
    """Return the fewest words to change, leave out or put in."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(heard, 1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
    return row[-1]
