"""Same seed, same text: every way of decoding a reply, on pocket, as stored and quantized."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gemma_cli.core.engine import EngineSpec, Quantization
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Event, collect
from gemma_cli.core.messages import Drafting, Request, Sampling, ask
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.opening import open_local
from tests.soak.outcome import Outcome

PROMISE = "A seed gives the same text at draft lengths 0 to 8, alone and in a batch, in float32, int8 and int4"

REQUESTS = 500
FORMATS: tuple[Quantization | None, ...] = (None, "int8", "int4")
LENGTHS = range(9)
TOKENS = 40
TOGETHER = 50

PROMPTS = (
    "Tell me a story.",
    "hello, I am number {n}",
    "Count from {n} on.",
    "What is {n} + {m}?",
    "What is {m} - {n}?",
    "Spell the word lamp {n} times.",
    "Translate into German: I have {n} red lamps.",
    "Translate into French: The {m} dogs are small.",
    "Write a sentence with {n} words.",
    "Which is larger, {n} or {m}?",
)
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=1.5, top_k=0),
    Sampling(temperature=0.0),
    Sampling(temperature=0.7, top_k=0, top_p=1.0),
    Sampling(temperature=1.2, top_k=20, top_p=0.8),
)


def trial(scale: float) -> Outcome:
    """REQUESTS pairs of prompt and seed in each format, each decoded in eleven ways."""
    count, failures, figures = math.ceil(REQUESTS * scale), [], []
    for quantize in FORMATS:
        engine = open_local(EngineSpec("pocket", device="cpu", quantize=quantize))
        asked = [request(index) for index in range(count)]
        texts, differing = compare(engine, asked)
        failures += [f"{quantize or 'float32'}: {failure}" for failure in differing]
        figures.append(f"{quantize or 'float32'}: {len(set(texts))} texts of {count} requests")
    return Outcome(count * len(FORMATS), failures, "; ".join(figures))


def request(index: int) -> Request:
    """The request of a number: prompts, samplings and seeds in turn, every pair of the first two by 50."""
    prompt = PROMPTS[index % len(PROMPTS)].format(n=2 + index, m=3 * index + 7)
    sampling = SAMPLINGS[index // len(PROMPTS) % len(SAMPLINGS)]
    return Request(ask(prompt), replace(sampling, seed=7919 * index, max_tokens=TOKENS))


def compare(engine: LocalEngine, requests: Sequence[Request]) -> tuple[list[str], list[str]]:
    """The texts of plain decoding, and a line for each way that gave another one: a draft length, the adaptive one, a
    batch."""
    failures = []
    plain = [text(engine.stream(replace(asked, drafting=Drafting(0)))) for asked in requests]
    for drafting in (*(Drafting(length) for length in LENGTHS if length), Drafting(4, adaptive=True)):
        for index, asked in enumerate(requests):
            if (found := text(engine.stream(replace(asked, drafting=drafting)))) != plain[index]:
                failures.append(f"request {index}, {drafting}: {found!r} and not {plain[index]!r}")
    for first in range(0, len(requests), TOGETHER):
        for index, found in enumerate(batched(engine, requests[first : first + TOGETHER]), first):
            if found != plain[index]:
                failures.append(f"request {index}, in a batch: {found!r} and not {plain[index]!r}")
    return plain, failures


def batched(engine: LocalEngine, requests: Sequence[Request]) -> list[str]:
    """The texts of requests that are answered together."""
    events: list[list[Event]] = [[] for _ in requests]
    for index, event in engine.stream_many(requests):
        if isinstance(event, InputError):
            raise event
        events[index].append(event)
    return [text(each) for each in events]


def text(events: Iterable[Event]) -> str:
    """The reply and how it ended."""
    turn = collect(events)
    return f"{turn.thinking}{turn.text} ({turn.finish_reason}, {turn.usage.completion_tokens} tokens)"
