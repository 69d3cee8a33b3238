"""Synthesis and recording; skipped, with the reason, where espeak-ng is not installed."""

import ctypes.util
import random

import numpy as np
import pytest

from training.data import speech, voices

pytestmark = pytest.mark.skipif(
    not ctypes.util.find_library("espeak-ng"), reason="espeak-ng's library is not installed"
)


def test_rate_is_obeyed() -> None:
    slow, fast = (voices.say("three hundred", voices.Voice("gmw/en-US", "f2", rate=rate)) for rate in (110, 220))
    assert slow.size > 1.3 * fast.size


def test_phonemes_tell_numbers_apart() -> None:
    voice = voices.Voice("gmw/en", "")
    assert voices.phonemes("fifteen", voice) != voices.phonemes("fifty", voice)


@pytest.mark.parametrize("language", sorted(voices.ACCENTS))
def test_every_accent_exists(language: str) -> None:
    for name in voices.ACCENTS[language]:
        assert voices.say("a", voices.Voice(name, "")).size


def test_recordings_stay_in_range_and_features_have_the_towers_width() -> None:
    rng, ear = random.Random(1), speech.Ear()
    heard = speech.record(voices.say("forty seven", voices.Voice("gmw/en", "m1")), rng)
    assert heard.dtype == np.float32
    assert np.abs(heard).max() <= 1
    features = ear(heard)
    assert features.shape[1] == speech.MEL_BINS
    assert abs(len(features) - heard.size / 160) < 4


def test_a_shard_is_made_by_its_seed_and_read_back(tmp_path) -> None:
    for name in ("a", "b"):
        speech.build_shard(tmp_path / f"{name}.npz", seed=3, count=4, language="en", held_out=False)
    first, second = (speech.load_shards([tmp_path / f"{name}.npz"]) for name in ("a", "b"))
    assert [(r.utterance, r.voice, r.phonemes) for r in first] == [(r.utterance, r.voice, r.phonemes) for r in second]
    for one, other in zip(first, second, strict=True):
        assert abs(len(one.features) - len(other.features)) <= 3  # espeak-ng carries state between utterances
        assert np.isfinite(one.features).all()
