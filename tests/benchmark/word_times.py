"""How far word times are off: pocket on espeak-ng's speech, whose word times are known.

    python -m tests.benchmark.word_times [--segments 60] [--seed 23]
    python -m tests.benchmark.word_times --fixture    writes the recording of tests/speech/word_times

It takes libespeak-ng 1.51. Voices and sentences are the held-out ones. "characters" shares a segment's time by its
characters, as cues without word times do. Only segments that were written exactly are counted.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch

from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.core.events import TimedWord, Turn, collect
from gemma_cli.core.messages import SAMPLE_RATE, Drafting
from gemma_cli.engines import open_engine
from gemma_cli.media.segmenter import Piece, pieces
from gemma_cli.media.voice_activity import VoiceDetector
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import Task, answered, place_of, request_of
from training.data.timed_speech import TimedSegment, segment

LANGUAGES = ("en", "de", "fr", "es")
FIXTURE = Path(__file__).parents[1] / "speech" / "word_times" / "timed_speech.ogg"


def heard(task: Task, engine: Engine, spoken: TimedSegment) -> Iterator[tuple[Piece, Turn]]:
    """Yield the pieces of a segment that the detector finds, with their replies."""
    for piece in pieces(iter([spoken.samples]), VoiceDetector(), "segment"):
        turn = collect(engine.stream(request_of(task, piece)))
        yield piece, answered(place_of(task, piece), turn).turn


def errors(spoken: TimedSegment, words: tuple[TimedWord, ...], piece: Piece) -> tuple[list[float], list[float]]:
    """Return how far the starts of words are off, in seconds: timed, and shared by characters."""
    lengths = np.array([len(word) + 1 for word, _, _ in spoken.words])
    begins = piece.start + (piece.end - piece.start) * np.append(0, lengths.cumsum()[:-1]) / lengths.sum()
    known = [(start, word.start, begin) for (_, start, _), word, begin in zip(spoken.words, words, begins, strict=True)]
    timed = [abs(mine - start) for start, mine, _ in known if start is not None]
    return timed, [abs(begin - start) for start, _, begin in known if start is not None]


def measure(name: str, spoken: list[TimedSegment], task: Task, engine: Engine) -> None:
    timed: list[float] = []
    shared: list[float] = []
    right = 0
    for one in spoken:
        found = list(heard(task, engine, one))
        if len(found) != 1 or found[0][1].text.strip() != one.text or not (words := found[0][1].words):
            continue
        right += 1
        mine, characters = errors(one, words, found[0][0])
        timed, shared = timed + mine, shared + characters
    for label, values in (("word times", timed), ("characters", shared)):
        mean, median, most = np.mean(values), np.median(values), np.percentile(values, 90)
        print(
            f"{name}, {right} of {len(spoken)} segments, {len(values)} words, {label}: "
            f"mean {1000 * mean:.0f} ms, median {1000 * median:.0f}, 90 % {1000 * most:.0f}"
        )


def cost(spoken: list[TimedSegment], task: Task, plain: Task, engine: Engine) -> None:
    """Print what word times add to the processor time of a transcription, taken in turn on one thread."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(6):  # all segments each time: one that follows itself is not read again
        which = task if turn % 2 else plain
        began = time.process_time()
        for one in spoken:
            list(heard(which, engine, one))
        seconds[which.word_times].append(time.process_time() - began)
    share = min(seconds[True]) / min(seconds[False]) - 1
    print(f"cost of word times: {100 * share:.1f} % of the transcription")


def write_fixture() -> None:
    rng = random.Random(7)
    rows, sound, at = [], [], 0.0
    for number in range(24):
        one = segment(rng, LANGUAGES[number // 6], 1, lively=number % 2 == 1)
        later = [
            [word, *(None if moment is None else round(at + moment, 3) for moment in moments)]
            for word, *moments in one.words
        ]
        rows.append({"language": one.language, "text": one.text, "words": later})
        sound += [one.samples, np.random.default_rng(1).standard_normal(11_200).astype(np.float32) * 2e-4]
        at += (len(one.samples) + 11_200) / SAMPLE_RATE
    soundfile.write(FIXTURE, np.concatenate(sound), SAMPLE_RATE, format="OGG", subtype="OPUS")
    FIXTURE.with_suffix(".json").write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--segments", type=int, default=60)
    options.add_argument("--seed", type=int, default=23)
    options.add_argument("--fixture", action="store_true")
    asked = options.parse_args()
    if asked.fixture:
        write_fixture()
        return
    rng = random.Random(asked.seed)
    engine = open_engine(EngineSpec(model="pocket", device="cpu"))
    task = Task(lambda: engine, instructions.transcription(None), Drafting(), word_times=True)
    plain = Task(lambda: engine, instructions.transcription(None), Drafting())
    torch.set_num_threads(1)
    each = asked.segments // len(LANGUAGES)
    even = [segment(rng, language, 1) for language in LANGUAGES for _ in range(each)]
    lively = [segment(rng, language, 1, lively=True) for language in LANGUAGES for _ in range(each)]
    measure("one sentence, even tempo", even, task, engine)
    measure("one sentence, lively tempo", lively, task, engine)
    cost(even[:24], task, plain, engine)


if __name__ == "__main__":
    main()
