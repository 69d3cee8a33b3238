"""The text with word times against the text without, over 300 segments of one to six sentences."""

from __future__ import annotations

import random
from dataclasses import replace

from gemma_cli.core.engine import EngineSpec, stream_many
from gemma_cli.core.events import Event, Turn, collect
from gemma_cli.core.messages import Drafting, Request
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.media.segmenter import pieces
from gemma_cli.media.voice_activity import VoiceDetector
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import Task, request_of
from tests.soak.outcome import Outcome
from training.data.timed_speech import segment

PROMISE = "word times change no bit of a transcript, at no draft length, one by one and in batches"

SEGMENTS = 300


def trial(scale: float) -> Outcome:
    """Each segment without word times and drafts, with them at a draft length of 0 to 8, and all in batches."""
    rng = random.Random(41)
    spoken = [
        segment(rng, ("en", "de", "fr", "es")[number % 4], 1 + number % 6, lively=number % 2 == 1)
        for number in range(max(1, round(SEGMENTS * scale)))
    ]
    found = [piece for one in spoken for piece in pieces(iter([one.samples]), VoiceDetector(), "segment")]
    engine = open_engine(EngineSpec(model="pocket", device="cpu"))
    assert isinstance(engine, LocalEngine)
    task = Task(lambda: engine, instructions.transcription(None), Drafting(0), word_times=True)
    requests = [request_of(task, piece) for piece in found]
    plain = [collect(engine.stream(replace(request, word_times=False))) for request in requests]
    failures = []
    for number, (request, expected, together) in enumerate(
        zip(requests, plain, _batched(engine, requests), strict=True)
    ):
        drafts = number % 9
        alone = collect(engine.stream(replace(request, drafting=Drafting(drafts))))
        if not expected.text == alone.text == together.text:
            failures.append(f"{expected.text!r}; with word times, {drafts} drafts: {alone.text!r}; {together.text!r}")
        if alone.alignment != together.alignment:
            failures.append(f"{expected.text!r}: other probabilities in a batch than with {drafts} drafts")
    return Outcome(len(found), failures, f"{len(found)} segments")


def _batched(engine: LocalEngine, requests: list[Request]) -> list[Turn]:
    events: dict[int, list[Event]] = {}
    for index, event in stream_many(engine, requests):
        assert not isinstance(event, Exception)
        events.setdefault(index, []).append(event)
    return [collect(events[index]) for index in range(len(requests))]
