"""Utterances: what is said, by whom, how it is recorded, and the features the model hears.

A corpus is a folder of shards. Each shard holds the log-mel features of a few thousand utterances end to end (float16)
and, for each, what is said and as which words and phonemes; what it holds follows from the seed in its name.
"""

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soxr  # type: ignore[import-untyped]
from transformers import Gemma4AudioFeatureExtractor

from training.data import grammar, numbers, voices

HEARD_RATE = 16_000
MEL_BINS = 40
COMMANDS = ("hello", "stop", "good morning", "good night", "thank you", "yes", "no", "please", "help", "goodbye")


def feature_extractor() -> Gemma4AudioFeatureExtractor:
    """Gemma 4's own extractor with a third of its mel bins, centred so that speech has about mean 0 and deviation 1."""
    return Gemma4AudioFeatureExtractor(
        feature_size=MEL_BINS, per_bin_mean=[-2.5] * MEL_BINS, per_bin_stddev=[2.2] * MEL_BINS
    )


@dataclass(frozen=True)
class Utterance:
    """What is said. kind: number, sentence, command or passage; written: the transcript; units: the words heard."""

    kind: str
    language: str
    spoken: str
    written: str
    translations: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """What a listener hears: German number words, which are one long word, in their parts."""
        heard = grammar.words(self.spoken)
        return [part for word in heard for part in numbers.german_parts(word)] if self.language == "de" else heard


def sample_utterance(rng: random.Random, language: str = "en", held_out: bool = False) -> Utterance:
    """Half numbers from 0 to 999, a few commands, else sentences (from the held-out ones if asked).

    A sentence comes with its translations into the other languages.
    """
    chance = rng.random()
    if chance < 0.5:
        return sample_number(rng, language)
    if chance < 0.54 and language == "en":
        command = rng.choice(COMMANDS)
        return Utterance("command", language, command, f"{command.capitalize()}.")
    sentence = grammar.sample_sentence(rng, held_out)
    return Utterance(
        "sentence",
        language,
        sentence.spoken[language],
        sentence.written[language],
        {other: text for other, text in sentence.written.items() if other != language},
    )


def sample_number(rng: random.Random, language: str = "en") -> Utterance:
    """A number from 0 to 999, small ones more often than their share; English with and without "and"."""
    number = rng.choice((rng.randrange(1000), rng.randrange(1000), rng.randrange(1000), rng.randrange(100)))
    spoken = numbers.english(number, rng.random() < 0.6) if language == "en" else numbers.SAY[language](number)
    return Utterance("number", language, spoken, str(number))


def record(samples: np.ndarray, rng: random.Random) -> np.ndarray:
    """Play a synthesized voice into a random room and microphone: float32 at HEARD_RATE.

    Speed (by resampling), bandwidth, echo, noise, level and the silence round the words all vary; a fifth stay clean.
    """
    noise_source = np.random.default_rng(rng.getrandbits(32))
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    if loud.size:
        samples = samples[max(0, loud[0] - 400) : loud[-1] + 400]
    clean = rng.random() < 0.2
    speed = 1.0 if clean else rng.uniform(0.9, 1.1)
    heard: np.ndarray = soxr.resample(samples, voices.SAMPLE_RATE * speed, HEARD_RATE, quality="LQ")
    lead, tail = (int(HEARD_RATE * rng.triangular(0, 0.6, 0.05)) for _ in range(2))
    heard = np.pad(heard, (lead, tail))
    if clean:
        return heard.astype(np.float32)
    if rng.random() < 0.2:
        narrow = rng.uniform(7_000, 14_000)
        heard = soxr.resample(soxr.resample(heard, HEARD_RATE, narrow, "LQ"), narrow, HEARD_RATE, "LQ")
    if rng.random() < 0.15:
        decay = np.exp(-np.arange(1_600) / rng.uniform(150, 500)) * noise_source.standard_normal(1_600) * 0.08
        decay[0] = 1
        heard = np.convolve(heard, decay)[: heard.size]
    heard = heard * (10 ** (rng.uniform(-18, 2) / 20))
    if rng.random() < 0.6:
        noise = noise_source.standard_normal(heard.size)
        if rng.random() < 0.5:
            noise = np.convolve(noise, np.ones(8) / 8, "same") * 2.5
        level = np.sqrt(np.mean(heard**2)) * 10 ** (-rng.uniform(12, 45) / 20)
        heard = heard + noise * level
    return np.clip(heard, -1, 1).astype(np.float32)


class Ear:
    """Features of one recording at a time, as the model's processor computes them."""

    def __init__(self) -> None:
        self.extractor = feature_extractor()

    def __call__(self, heard: np.ndarray) -> np.ndarray:
        """Log-mel features (frames, MEL_BINS), 100 frames a second."""
        extracted = self.extractor([heard], return_tensors="np")
        features: np.ndarray = extracted["input_features"][0][extracted["input_features_mask"][0]]
        return features


def build_shard(path: Path, seed: int, count: int, language: str, held_out: bool) -> None:
    """Synthesize `count` utterances of held-out or training voices (and sentences) into one shard file.

    What is said, by whom and how it is recorded follow from the seed; espeak-ng itself carries a little state from one
    utterance to the next, so samples repeat exactly only in a fresh process.
    """
    rng, ear = random.Random(f"{language}-{held_out}-{seed}"), Ear()
    features, entries = [], []
    for _ in range(count):
        utterance = sample_utterance(rng, language, held_out)
        voice = voices.sample_voice(rng, language, held_out)
        mel = ear(record(voices.say(utterance.spoken, voice), rng)).astype(np.float16)
        entries.append(
            asdict(utterance)
            | {"voice": f"{voice.name}+{voice.variant}", "frames": len(mel)}
            | {"phonemes": "".join(voices.phonemes(utterance.spoken, voice))}
        )
        features.append(mel)
    write_shard(path, features, entries)


def write_shard(path: Path, features: list[np.ndarray], entries: list[dict[str, object]]) -> None:
    """Write a shard whole or not at all. features: float16 (frames, MEL_BINS) of each entry."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, features=np.concatenate(features), entries=np.array(json.dumps(entries)))
    partial.rename(path)


@dataclass(frozen=True)
class Recorded:
    """One utterance of a corpus with its features, float16 (frames, MEL_BINS)."""

    utterance: Utterance
    phonemes: str
    voice: str
    features: np.ndarray


def load_shards(paths: list[Path]) -> list[Recorded]:
    """Read shards into memory, in the order given."""
    recorded = []
    for path in paths:
        with np.load(path) as shard:
            features, entries = shard["features"], json.loads(str(shard["entries"]))
        start = 0
        for entry in entries:
            frames, phonemes, voice = entry.pop("frames"), entry.pop("phonemes"), entry.pop("voice")
            recorded.append(Recorded(Utterance(**entry), phonemes, voice, features[start : start + frames]))
            start += frames
    return recorded
