"""Calibration of word times from recordings without transcripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma_cli.cli import run
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Alignment, Calibration, Turn
from gemma_cli.speech.word_times.calibrate import calibration, delay, following
from gemma_cli.speech.word_times.voiced import STEP_S
from gemma_cli.speech.word_times.words import SoundPlace, path_mass, rising_path, timed_words
from gemma_cli.store.models import calibrations

RECORDING = Path(__file__).parent / "timed_speech.ogg"


WORDS = 12


def spoken(rng: np.random.Generator, late: float) -> tuple[np.ndarray, SoundPlace, np.ndarray]:
    """Return attention, sound and starts of words of 0.2 to 0.4 s: every third is followed by a pause, and attention
    has a spike `late` s after each end."""
    voiced: list[bool] = []
    starts: list[float] = []
    ends: list[float] = []
    for number in range(WORDS):
        starts.append(len(voiced) * STEP_S)
        voiced += [True] * int(rng.integers(20, 40))
        ends.append(len(voiced) * STEP_S)
        voiced += [False] * (int(rng.integers(15, 40)) if number % 3 == 2 else 0)
    voiced += [False] * 120
    attention = np.full((WORDS, len(voiced) // 4), 0.002, np.float32)
    for row, end in enumerate(ends):
        attention[row, round((end + late) / 0.04 - 0.5)] = 0.8
    return attention, SoundPlace(0.0, np.array(voiced)), np.array(starts)


@pytest.mark.parametrize("late", [-0.06, 0.0, 0.065, 0.2, 0.48])
def test_the_delay_is_seen_at_pauses(late: float) -> None:
    """Whatever it is, to within half a frame of 40 ms."""
    rng = np.random.default_rng(5)
    assert delay(spoken(rng, late)[:2] for _ in range(20)) == pytest.approx(late, abs=0.02)


def test_without_pauses_the_delay_is_the_default() -> None:
    attention, place, _ = spoken(np.random.default_rng(5), 0.4)
    assert delay([(attention, SoundPlace(0.0, np.ones_like(place.voiced)))]) == 0.065


def test_the_path_rises_through_the_spikes() -> None:
    attention, *_ = spoken(np.random.default_rng(1), 0.1)
    path = rising_path(attention)
    assert (abs(path - attention.argmax(1)) <= 1).all()
    assert (np.diff(path) >= 2).all()
    rows = np.arange(len(path))
    near = sum(attention[rows, path + shift] for shift in (-1, 0, 1))
    assert near.mean() == pytest.approx(path_mass(attention), rel=1e-5)


def test_heads_that_follow_are_chosen() -> None:
    rng = np.random.default_rng(2)
    replies = []
    for _ in range(3):
        attention, *_ = spoken(rng, 0.1)
        noise = rng.random(attention.shape, np.float32)
        heads = np.stack([noise / noise.sum(1, keepdims=True), attention, 0.7 * attention, 0.2 * attention])
        replies.append(Alignment(tuple(" word" for _ in attention), (0.0,) * len(attention), heads))
    assert following(replies) == [1, 2]


def test_too_little_speech_and_attention_that_wanders_are_refused() -> None:
    attention, place, _ = spoken(np.random.default_rng(3), 0.1)
    pieces, zeros = tuple(" word" for _ in attention), (0.0,) * len(attention)
    turn = Turn(text="word", alignment=Alignment(pieces, zeros, attention[None]), finish_reason="stop")
    with pytest.raises(GemmaError, match="needs 40 words, and e2b found 12"):
        calibration("e2b", [(turn, place)])
    assert calibration("e2b", [(turn, place)] * 4).heads == (0,)
    flat = np.full_like(attention, 1 / attention.shape[1])[None]
    wandering = replace(turn, alignment=Alignment(pieces, zeros, flat))
    with pytest.raises(GemmaError, match="does not follow"):
        calibration("e2b", [(wandering, place)] * 4)


def test_a_calibration_decides_heads_delay_and_what_counts_as_listening() -> None:
    attention, place, begins = spoken(np.random.default_rng(4), 0.4)
    noise = np.random.default_rng(4).random(attention.shape, np.float32) / attention.shape[1]
    text = " ".join(["word"] * len(attention))
    pieces = ("word", *[" word"] * (len(attention) - 1))

    def starts(known: Calibration | None) -> list[float] | None:
        heads = np.stack([attention, noise])
        turn = Turn(text=text, alignment=Alignment(pieces, (0.0,) * len(pieces), heads, known))
        words = timed_words(turn, place)
        return None if words is None else [word.start for word in words]

    exact, default = starts(Calibration((0,), 0.4, 0.8)), starts(None)
    assert exact is not None
    assert default is not None
    assert np.mean(abs(np.array(exact) - begins)) < 0.04
    assert np.mean(abs(np.array(default) - begins)) > 0.08
    assert starts(Calibration((1,), 0.4, 0.8)) is None
    assert starts(Calibration((7,), 0.4, 0.8)) == starts(Calibration((0,), 0.4, 0.8))


def test_the_command_saves_what_the_next_transcript_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrations, "_folder", lambda: tmp_path)
    assert run(["models", "calibrate", "pocket", str(RECORDING)]) == 0
    line = capsys.readouterr().out
    assert line.startswith("pocket: heads ")
    assert run(["models"]) == 0
    assert line.strip().removeprefix("pocket: ") in capsys.readouterr().out
    assert run(["models", "calibrate", "synthetic:e2b-slice", str(RECORDING)]) == 2
    assert "has no files, so there is nothing to calibrate" in capsys.readouterr().err
