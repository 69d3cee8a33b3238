"""The steps of `python -m tests.gpu`, the cheapest first: what must be known before the rest means anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.gpu.runner import Step

PROMPT = "Tell me a long story about a lighthouse."


def steps(device: str, *, small: bool) -> list[Step]:
    """small: with the pocket model in place of the released shapes, and few tokens."""
    return [*_checks(device, small), *_benches(device, small)]


def _checks(device: str, small: bool) -> Iterator[Step]:
    def step(name: str, limit_s: float, purpose: str, *words: str) -> Step:
        more = ("--small",) if small else ()
        kind, *rest = words or (name,)
        command = (sys.executable, "-m", "tests.gpu.steps", kind, "--device", device, *rest, *more)
        return Step(name, purpose, command, limit_s)

    yield step("machine", 40, "versions, the GPU, which kernels run on it and why not others")
    yield step("bandwidth", 40, "bytes a second that memory gives; the time from kernel to kernel in a graph")
    yield step("kernels", 120, "every kernel against its reference, and a row's bits at every place")
    formats = (("stored",), ("int8", "--quantize", "int8"), ("int4", "--quantize", "int4"))
    for name, *quantize in formats:
        yield step(f"exact-pocket-{name}", 40, "the same text at draft lengths 0 to 8", "exact", *quantize)
    yield step("graphs", 40, "graphs are recorded at load and none later; the text is that without graphs")
    yield step("growth", 60, "a cache that grows, and graphs recorded anew, change no text")
    yield step("memory", 60, "running out of memory is survived, and the next text is the same")
    yield step("leak", 60, "200 replies take no more memory than 20")
    if small:
        yield step("exact-shape-int8", 40, "the same text at draft lengths 0 to 8", "exact", "--quantize", "int8")
        yield step("prefill", 60, "tokens a second and peak memory of prompts")
        return
    for alias, *quantize in (
        ("e2b",),
        ("e2b", "--quantize", "int8"),
        ("e2b", "--quantize", "int4"),
        ("26b-a4b", "--quantize", "int4"),
    ):
        words = ("exact", "--model", f"synthetic:{alias}", *quantize)
        name = "-".join(("exact", alias, *quantize[1:]))
        yield step(name, 75, "the same text at draft lengths 0 to 8", *words)
    for alias, *quantize in (("e2b",), ("31b", "--quantize", "int4")):
        words = ("prefill", "--model", f"synthetic:{alias}", *quantize)
        yield step(f"prefill-{alias}", 90, "tokens a second and peak memory of 512, 4k and 32k tokens", *words)


def _benches(device: str, small: bool) -> Iterator[Step]:
    def bench(name: str, limit_s: float, *words: str) -> Step:
        run = (sys.executable, "-m", "gemma_cli", "bench", "--device", device, "--json", *words)
        return Step(f"bench-{name}", "plain and drafted, tokens a second", run, limit_s)

    if small:
        few = ("--model", "pocket", "--prompt", "hello", "--max-tokens", "8", "--runs", "1", "--sweep", "0,2")
        yield bench("pocket", 90, *few, "--against", "transformers")
        return
    common = ("--prompt", PROMPT, "--max-tokens", "256", "--runs", "3", "--synthetic-acceptance", "0.8")
    peer = ("--against", "transformers")
    yield bench("e2b", 120, "--model", "synthetic:e2b", *common, *peer)
    yield bench("e2b-int4", 60, "--model", "synthetic:e2b", *common, "--quantize", "int4")
    yield bench("26b-a4b", 90, "--model", "synthetic:26b-a4b", *common)
    yield bench("31b-int4", 90, "--model", "synthetic:31b", *common, "--quantize", "int4")
    yield bench("12b", 75, "--model", "synthetic:12b", *common)
    yield bench("e4b", 90, "--model", "synthetic:e4b", *common, *peer)
