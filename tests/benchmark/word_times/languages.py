"""The language of a segment: recognised in its text, right or as pocket writes it, and asked of the model."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from gemma_cli.core.engine import Engine
from gemma_cli.core.events import collect
from gemma_cli.media.segmenter import pieces
from gemma_cli.media.voice_activity import VoiceDetector
from gemma_cli.speech.pipeline import Task, request_of
from gemma_cli.text.language_of_text import LIKELY, recognised
from tests.benchmark.word_times.starts import heard
from training.data.grammar import LANGUAGES, sample_sentence
from training.data.timed_speech import TimedSegment, segment

QUESTION = "Which language is spoken in this recording? Answer with its English name."


TEXTS = 300
"""Written sentences of each language."""


def measure(rng: random.Random, codes: tuple[str, ...], count: int, task: Task, engine: Engine) -> None:
    asking = replace(task, instruction=QUESTION, word_times=False)
    for code in codes:
        written = [sample_sentence(rng, held_out=True).written[code] for _ in range(TEXTS)]
        _report(f"{LANGUAGES[code]}, right texts of one sentence", LANGUAGES[code], written)
        for sentences in (1, 3):
            spoken = [segment(rng, code, sentences) for _ in range(count // len(codes))]
            texts = [" ".join(turn.text for _, turn in heard(task, engine, one)) for one in spoken]
            _report(f"{LANGUAGES[code]}, transcripts of {sentences} sentences", LANGUAGES[code], texts)
            said = sum(_asked(asking, engine, one).startswith(LANGUAGES[code]) for one in spoken)
            print(f"  named by the model: {said} of {len(spoken)}", flush=True)


def _report(title: str, name: str, texts: list[str]) -> None:
    found = Counter(recognised(text, LIKELY) for text in texts)
    others = len(texts) - found[name] - found[None]
    print(f"{title}: {found[name]} of {len(texts)} recognised, {found[None]} not, {others} as another", flush=True)


def _asked(task: Task, engine: Engine, spoken: TimedSegment) -> str:
    (piece, *_) = pieces(iter([spoken.samples]), VoiceDetector(), "segment")
    return collect(engine.stream(request_of(task, piece))).text.strip()
