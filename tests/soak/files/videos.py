"""Cues of videos whose sound begins late, has holes or an edit list, against those of the same sound in a WAV file."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from gemma_cli.media import audio
from tests.media.made_videos import RATE, Track, edit_sound, make
from tests.soak.outcome import Outcome

PROMISE = "the cues of a video are within 0.1 s of where a player plays the words"

SAMPLES = Path(__file__).parents[3] / "gemma_cli" / "samples"
FORMS = (
    ("matroska", "aac"),
    ("matroska", "libopus"),
    ("mp4", "aac"),
    ("mpegts", "aac"),
    ("mpegts", "mp2"),
    ("nut", "ac3"),
)
NEAR_S = 0.1


def trial(scale: float) -> Outcome:
    """Make `150 * scale` videos; three sentences in each are at random times."""
    voice, _ = soundfile.read(SAMPLES / "cat.en.wav", dtype="float32")
    failures: list[str] = []
    worst = 0.0
    videos = max(6, round(150 * scale))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = folder / "plain.wav"
        soundfile.write(plain, np.concatenate([np.zeros(RATE, np.float32), voice, np.zeros(RATE, np.float32)]), RATE)
        ((begins, ends),) = ((start - 1.0, end - 1.0) for start, end in _cues(plain))
        for number in range(videos):
            path, times, kind = _video(folder / f"{number}", random.Random(number), voice)
            found = _cues(path)
            wanted = [(second + begins, second + ends) for second in times]
            off = [abs(a - b) for cue, true in zip(found, wanted, strict=False) for a, b in zip(cue, true, strict=True)]
            worst = max([worst, *off])
            if len(found) != len(wanted) or max(off) > NEAR_S:
                failures.append(f"video {number}, {kind}: {found} for {wanted}")
            path.unlink()
    return Outcome(videos, failures, f"the furthest cue {worst:.3f} s from the truth")


def _video(path: Path, rng: random.Random, voice: np.ndarray) -> tuple[Path, list[float], str]:
    """Make a video. Returns it, when its three sentences begin, and what is special about it."""
    length = len(voice) / RATE
    kind = rng.choice(["late", "holes", "edited"])
    form, codec = ("mp4", "aac") if kind == "edited" else rng.choice(FORMS)
    if kind == "edited":
        spoken = list(_times(rng, length, 0.8))
        samples = _placed(voice, spoken)
        cut = (spoken[0] + length + spoken[1]) / 2  # between the first and the second sentence
        empty = rng.uniform(0.5, 5)
        make(path, [Track([(0, samples)], codec)], form, 3.0)
        edit_sound(path, [(empty, -1), (cut, 0), (empty, -1), (len(samples) / RATE - cut, cut)])
        return path, [spoken[0] + empty, *(second + 2 * empty for second in spoken[1:])], kind
    times = [second + 5.0 for second in _times(rng, length, 0.8)] if kind == "late" else list(_times(rng, length, 0.8))
    if kind == "late":
        stretches: Sequence[tuple[float, np.ndarray]] = [
            (times[0] - 0.5, _placed(voice, [second - times[0] + 0.5 for second in times]))
        ]
    else:
        pad = np.zeros(RATE // 4, np.float32)
        stretches = [(second - 0.25, np.concatenate([pad, voice, pad])) for second in times]
    first = 0.0 if form == "mp4" else rng.choice([0.0, 7.0, 1000.0])
    make(path, [Track(stretches, codec)], form, times[-1] + 3, first)
    return path, times, f"{kind} {form} {codec}, from {first:.0f} s on"


def _times(rng: random.Random, length: float, pause: float) -> Iterator[float]:
    at = 0.3
    for _ in range(3):
        at += rng.uniform(pause, 6)
        yield at
        at += length


def _placed(voice: np.ndarray, seconds: Sequence[float]) -> np.ndarray:
    samples = np.zeros(round((seconds[-1] + 1) * RATE) + len(voice), np.float32)
    for second in seconds:
        at = round(second * RATE)
        samples[at : at + len(voice)] += voice
    return samples


def _cues(path: Path) -> list[tuple[float, float]]:
    with path.open("rb") as file:
        return [(piece.start, piece.end) for piece in audio.speech(audio.survey(file, path.name))]
