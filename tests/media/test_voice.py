"""The detector on what is a voice and what is not. The samples' first and last sounds were measured by loudness."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media.voice_activity import FRAME, VoiceDetector

SAMPLES = Path(__file__).parents[2] / "gemma_cli" / "samples"
RNG = np.random.default_rng(0)
TIME = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE


def probabilities(samples, frames=64):
    detect = VoiceDetector()
    samples = samples[: len(samples) // FRAME * FRAME].astype(np.float32)
    step = frames * FRAME
    return np.concatenate([detect(samples[start : start + step]) for start in range(0, len(samples), step)])


@pytest.mark.parametrize(
    "path", [SAMPLES / "number-347.wav", SAMPLES / "cat.en.wav", Path(__file__).with_name("hund.de.wav")]
)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_speech_is_found_where_it_is(path, noise):
    said, _ = soundfile.read(path, dtype="float32")
    loud = np.flatnonzero(np.abs(said) > 0.01) / SAMPLE_RATE
    samples = np.concatenate([np.zeros(SAMPLE_RATE), said, np.zeros(SAMPLE_RATE)])
    found = np.flatnonzero(probabilities(samples + RNG.normal(0, noise, len(samples))) > 0.5)
    assert abs(found[0] * FRAME / SAMPLE_RATE - (1 + loud[0])) < 0.15
    assert abs((found[-1] + 1) * FRAME / SAMPLE_RATE - (1 + loud[-1])) < 0.15


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros_like(TIME),
        RNG.normal(0, 0.001, len(TIME)),
        RNG.normal(0, 0.3, len(TIME)),
        0.5 * np.sin(2 * np.pi * 440 * TIME),
        0.3 * np.sin(2 * np.pi * 150 * TIME),
        (RNG.random(len(TIME)) > 0.9995) * 0.8,
    ],
    ids=["silence", "hiss", "noise", "tone", "hum", "clicks"],
)
def test_what_is_no_voice_is_not_taken_for_one(samples):
    assert probabilities(samples).max() < 0.35


def test_blocks_of_any_size_say_the_same():
    said, _ = soundfile.read(SAMPLES / "cat.en.wav", dtype="float32")
    np.testing.assert_allclose(probabilities(said, frames=1), probabilities(said, frames=1000), atol=1e-4)


def test_the_number_of_threads_is_left_alone():
    threads = torch.get_num_threads()
    VoiceDetector()(np.zeros(FRAME, np.float32))
    assert torch.get_num_threads() == threads
