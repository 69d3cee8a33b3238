"""How far word times are off, and how often words of high probability are right: pocket on espeak-ng's speech.

    python -m tests.benchmark.word_times [--segments 60] [--seed 23] [--minutes 20]
    python -m tests.benchmark.word_times --fixture    writes the recording of tests/speech/word_times

It takes libespeak-ng 1.51. Voices and sentences are the held-out ones.
"""

from __future__ import annotations

import argparse
import random

import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.messages import Drafting
from gemma_cli.engines import open_engine
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import Task
from tests.benchmark.word_times import confidence, cues, languages, starts
from tests.benchmark.word_times.fixture import write_fixture
from training.data.timed_speech import segment

LANGUAGES = ("en", "de", "fr", "es")
PARTS = ("starts", "cost", "cues", "confidence", "languages")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; default: all")
    options.add_argument("--model", default="pocket", help="another checkpoint of pocket, such as a new export")
    options.add_argument("--segments", type=int, default=60)
    options.add_argument("--seed", type=int, default=23)
    options.add_argument("--minutes", type=float, default=20, help="of the recording whose cues are measured")
    options.add_argument("--fixture", action="store_true")
    asked = options.parse_args()
    if asked.fixture:
        write_fixture(LANGUAGES)
        return
    torch.set_num_threads(1)
    parts = set(asked.parts or PARTS)
    engine = open_engine(EngineSpec(model=asked.model, device="cpu"))
    task = Task(lambda: engine, instructions.transcription(None), Drafting(), word_times=True)
    plain = Task(lambda: engine, instructions.transcription(None), Drafting())
    numbers = [number for number in range(asked.segments // len(LANGUAGES)) for _ in LANGUAGES]
    codes = LANGUAGES * (asked.segments // len(LANGUAGES))
    rng = random.Random(asked.seed)
    if parts & {"starts", "cost"}:
        kinds = [(False, False), (False, True), (True, False), (True, True)]
        for several, lively in kinds if "starts" in parts else kinds[:1]:
            count = [2 + number % 5 if several else 1 for number in numbers]
            spoken = [segment(rng, code, each, lively) for code, each in zip(codes, count, strict=True)]
            if "starts" in parts:
                name = f"{'2 to 6 sentences' if several else 'one sentence'}, {'lively' if lively else 'even'} tempo"
                starts.measure(name, spoken, task, engine)
            if "cost" in parts and (several, lively) == (False, False):
                starts.cost(spoken[:24], task, plain, engine)
    if "cues" in parts:
        cues.measure(random.Random(asked.seed), asked.minutes, asked.model)
    if "confidence" in parts:
        noisy = [segment(rng, code, 1, snr_db=(0, 12)) for code in codes * 2]
        confidence.measure(noisy, task, engine)
    if "languages" in parts:
        languages.measure(rng, LANGUAGES, asked.segments, task, engine)


if __name__ == "__main__":
    main()
