"""Passages: recordings of one to six sentences by one voice, as a transcriber cuts them from a long recording.

Nearly all are lively: the tempo changes from sentence to sentence and the voice hesitates between words.
"""

import random
from dataclasses import asdict
from pathlib import Path

import numpy as np

from training.data import grammar, timed_speech
from training.data.speech import Ear, Utterance, record, write_shard

SENTENCES = (1, 2, 3, 4, 5, 6)
_WEIGHTS = (1, 2, 2, 2, 1.5, 1.5)
LONGEST_PAUSE = 0.5
"""Seconds of silence between two sentences, at most."""
TRANSLATED = 2
"""Sentences of the longest passage that is translated too."""


def sample_passage(rng: random.Random, language: str) -> tuple[Utterance, np.ndarray]:
    """A random passage of training voices and sentences, with its samples at HEARD_RATE."""
    count = rng.choices(SENTENCES, _WEIGHTS)[0]
    lively = rng.random() < 0.7
    speech = timed_speech.speak(rng, language, count, lively, held_out=False, longest_pause=LONGEST_PAUSE)
    return passage(language, speech.sentences), record(speech.samples, rng)


def passage(language: str, sentences: tuple[grammar.Sentence, ...]) -> Utterance:
    """Some sentences as one utterance."""
    written = {code: " ".join(sentence.written[code] for sentence in sentences) for code in grammar.LANGUAGES}
    translations = {code: text for code, text in written.items() if code != language}
    spoken = " ".join(sentence.spoken[language] for sentence in sentences)
    short = len(sentences) <= TRANSLATED
    return Utterance("passage", language, spoken, written[language], translations if short else {})


def build_shard(path: Path, seed: int, count: int, language: str) -> None:
    """Record `count` passages into one shard file; the seed decides what is said, by whom and how it is recorded."""
    rng, ear = random.Random(f"passages-{language}-{seed}"), Ear()
    features, entries = [], []
    for _ in range(count):
        utterance, heard = sample_passage(rng, language)
        features.append(ear(heard).astype(np.float16))
        entries.append(asdict(utterance) | {"voice": "", "frames": len(features[-1]), "phonemes": ""})
    write_shard(path, features, entries)
