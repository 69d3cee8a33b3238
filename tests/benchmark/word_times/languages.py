"""The language of a segment: recognised in its text, and asked of the model."""

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
from training.data.grammar import LANGUAGES
from training.data.timed_speech import TimedSegment, segment

QUESTION = "Which language is spoken in this recording? Answer with its English name."


def measure(rng: random.Random, codes: tuple[str, ...], count: int, task: Task, engine: Engine) -> None:
    asking = replace(task, instruction=QUESTION, word_times=False)
    for code in codes:
        for sentences in (1, 3):
            spoken = [segment(rng, code, sentences) for _ in range(count // len(codes))]
            texts = [" ".join(turn.text for _, turn in heard(task, engine, one)) for one in spoken]
            found = Counter(recognised(text, LIKELY) for text in texts)
            said = sum(_asked(asking, engine, one).startswith(LANGUAGES[code]) for one in spoken)
            name = LANGUAGES[code]
            others = {str(other): number for other, number in found.items() if other not in (name, None)}
            print(
                f"{name}, {sentences} sentences: {found[name]} of {len(spoken)} recognised in the text, "
                f"{found[None]} not, others {others}; {said} named by the model",
                flush=True,
            )


def _asked(task: Task, engine: Engine, spoken: TimedSegment) -> str:
    (piece, *_) = pieces(iter([spoken.samples]), VoiceDetector(), "segment")
    return collect(engine.stream(request_of(task, piece))).text.strip()
