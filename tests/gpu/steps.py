"""What the steps of `python -m tests.gpu` do: `python -m tests.gpu.steps NAME --device D [--model M] [--small]`.

Each is a function of Options that returns figures, and raises AssertionError where something is wrong. The figures are
printed as one line of JSON.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import pkgutil
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch

from gemma_cli.core.engine import EngineSpec, Quantization
from gemma_cli.core.errors import OutOfMemory
from gemma_cli.core.messages import GREEDY, Drafting, Request, Sampling, ask
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.loading.memory.estimate import needs
from gemma_cli.engines.local.loading.memory.planning import planned
from gemma_cli.engines.local.measure.roofline import bandwidth
from gemma_cli.engines.local.model.layers import quantized
from gemma_cli.engines.local.opening import open_local
from gemma_cli.store.models.checkpoints import resolve
from tests.gpu import kernels

LONG = "A lighthouse keeper writes down what he sees each night. "


@dataclass(frozen=True)
class Options:
    """small: few tokens, for a CPU."""

    device: torch.device
    small: bool = False
    model: str = "pocket"
    quantize: Quantization | None = None

    def engine(self) -> LocalEngine:
        dtype = "float32" if self.device.type == "cpu" else "bfloat16"
        return open_local(EngineSpec(self.model, device=str(self.device), dtype=dtype, quantize=self.quantize))

    def amount(self, full: int, small: int) -> int:
        return small if self.small else full


def machine(options: Options) -> dict[str, Any]:
    """Versions, the GPU, and what runs on it."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        found["triton"] = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        found["triton"] = None
    if options.device.type == "cuda":
        properties = torch.cuda.get_device_properties(options.device)
        found |= {"gpu": properties.name, "capability": f"{properties.major}.{properties.minor}"}
        found |= {"memory_gb": properties.total_memory / 1e9, "cuda": torch.version.cuda}
        found |= {"int8_matmul": quantized.int8_on_cuda(), "int4_matmul": quantized.int4_runs("cuda")}
    return found


def memory_bandwidth(options: Options) -> dict[str, Any]:
    """Bytes a second, and microseconds from kernel to kernel in a graph."""
    figures: dict[str, Any] = {"gb_per_s": bandwidth(options.device) / 1e9}
    if options.device.type == "cuda":
        figures["us_between_kernels"] = _gap()
    return figures


def _gap(count: int = 2000) -> float:
    """Microseconds that a kernel of next to no work takes in a recorded graph."""
    one = torch.ones(8, device="cuda")
    graph = torch.cuda.CUDAGraph()
    one.add_(1)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(count):
            one.add_(1)
    return _shortest(lambda: graph.replay()) / count * 1e6


def _shortest(work: Callable[[], object], runs: int = 5) -> float:
    """Seconds of the quickest of a few runs."""
    best = float("inf")
    for _ in range(runs):
        _wait()
        began = perf_counter()
        work()
        _wait()
        best = min(best, perf_counter() - began)
    return best


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def check_kernels(options: Options) -> dict[str, Any]:
    """Run `check(device, small)` of every module in tests/gpu/kernels; all of them, whichever fail."""
    figures: dict[str, Any] = {}
    wrong = []
    modules = pkgutil.iter_modules(kernels.__path__)
    for module in sorted(modules, key=lambda module: module.name != "triton_kernels"):  # those that decoding takes
        try:
            figures[module.name] = importlib.import_module(f"tests.gpu.kernels.{module.name}").check(
                options.device, options.small
            )
        except Exception as error:  # one kernel that fails says nothing about the next
            wrong.append(f"{module.name}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)
    return figures


def exact(options: Options) -> dict[str, Any]:
    """The same text, greedy and sampled, at draft lengths 0 to 8."""
    engine = options.engine()
    length = options.amount(96, 12)
    compared, accepted = 0, 0
    for sampling in (GREEDY, Sampling(seed=7), Sampling(temperature=1.5, top_k=0, seed=8)):
        request = Request(ask("Count from 1 to 20."), replace(sampling, max_tokens=length), Drafting(0))
        expected = tokens(engine, request)
        for drafts in range(1, 9) if not options.small else (1, 8):
            found = tokens(engine, replace(request, drafting=Drafting(drafts)))
            assert found == expected, f"{drafts} drafts: differs at token {_first_difference(found, expected)}"
            compared += 1
            accepted += len(found)
    assert engine.info.exact, "batch invariance was not found at load"
    return {"texts": compared, "tokens": accepted, "exact": engine.info.exact, **memory_figures(engine, options)}


def graphs(options: Options) -> dict[str, Any]:
    """How many graphs are recorded at load, and that none is recorded for replies that reach into the next bucket."""
    began = perf_counter()
    engine = options.engine()
    figures: dict[str, Any] = {"load_s": perf_counter() - began, "recorded": 0, "recorded_later": 0}
    request = Request(
        ask(LONG * options.amount(18, 2)), replace(GREEDY, max_tokens=options.amount(200, 6)), Drafting(3)
    )
    with_graphs = tokens(engine, request)
    if engine.rounds:
        assert engine.rounds.recorder.failure is None, engine.rounds.recorder.failure
        figures["recorded"] = len(engine.rounds.recorder)
        tokens(engine, replace(request, sampling=replace(GREEDY, max_tokens=400)))
        figures["recorded_later"] = len(engine.rounds.recorder) - figures["recorded"]
        assert not figures["recorded_later"], "a reply had to wait for a graph"
        engine.rounds = None
    assert tokens(engine, request) == with_graphs, "graphs change the text"
    return figures


def growth(options: Options) -> dict[str, Any]:
    """A reply that outgrows the cache made at load, and one after it, against engines that never grew."""
    engine = options.engine()
    short = Request(ask("Count from 1 to 20."), replace(GREEDY, max_tokens=options.amount(64, 8)), Drafting(2))
    long = Request(ask(LONG * options.amount(400, 30)), short.sampling, Drafting(2))
    before = tokens(engine, short)
    grown = tokens(engine, long)
    assert tokens(engine, short) == before, "growing changed a text"
    assert tokens(options.engine(), long) == grown, "a text depends on what grew before it"
    return {"capacity": engine.live.cache.capacity if engine.live.cache else 0}


def memory(options: Options) -> dict[str, Any]:
    """Out of memory in mid-request, and the same text afterwards."""
    engine = options.engine()
    request = Request(ask("Count from 1 to 20."), replace(GREEDY, max_tokens=options.amount(48, 8)), Drafting(2))
    expected = tokens(engine, request)
    survived = 0
    for at in range(options.amount(4, 2)):
        engine.live.forget()
        try:
            with nearly_full(options.device, at):
                list(engine.stream(replace(request, messages=ask(LONG * options.amount(600, 40)))))
        except OutOfMemory:
            survived += 1
        assert tokens(engine, request) == expected, "running out of memory changed a text"
    assert survived, "memory never ran out"
    return {"survived": survived}


@contextmanager
def nearly_full(device: torch.device, at: int) -> Iterator[None]:
    """Leave next to nothing of a GPU's memory; on a CPU an allocation fails."""
    if device.type != "cuda":
        from tests.engines.helpers.faults import OutOfMemoryAt

        with OutOfMemoryAt(300 + 200 * at):
            yield
        return
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(device)[0]
    held = torch.empty(max(0, free - (at + 1) * (24 << 20)), dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del held


def leak(options: Options) -> dict[str, Any]:
    """Bytes of tensors after so many replies, and after many more."""
    engine = options.engine()
    request = Request(ask("Count from 1 to 20."), Sampling(max_tokens=options.amount(24, 4)), Drafting(2))

    def replies(count: int, seed: int) -> int:
        for index in range(count):
            sampling = replace(request.sampling, seed=seed + index)
            tokens(engine, replace(request, messages=ask(f"Say {index % 7}."), sampling=sampling))
        return live_bytes(options.device)

    before = replies(options.amount(20, 3), 0)
    after = replies(options.amount(200, 6), 100)
    assert after - before < 1 << 20, f"{after - before} bytes more after {options.amount(200, 6)} replies"
    return {"replies": options.amount(220, 9), "bytes_more": after - before}


def live_bytes(device: torch.device) -> int:
    """Bytes of live tensors: on CUDA as the allocator counts them."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated(device)
    tensors = [found for found in gc.get_objects() if type(found) is torch.Tensor]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def prefill(options: Options) -> dict[str, Any]:
    """Tokens a second of prompts of several lengths, the most memory they took, and what was foretold."""
    engine = options.engine()
    figures: dict[str, Any] = {}
    for length in (64, 128) if options.small else (512, 4096, 32768):
        ids = torch.randint(5, engine.target.vocab_size, (length,), device=engine.target.device)
        if options.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(options.device)
        cache = engine.target.new_cache(length)

        def read(ids: torch.Tensor = ids, cache: Any = cache) -> object:
            cache.restart()
            return engine.target.prefill(ids, cache)

        read()
        figures[f"{length}_tokens_per_s"] = length / _shortest(read, 2)
        if options.device.type == "cuda":
            figures[f"{length}_peak_gb"] = torch.cuda.max_memory_allocated(options.device) / 1e9
    return figures | memory_figures(engine, options)


def memory_figures(engine: LocalEngine, options: Options) -> dict[str, Any]:
    """The most memory that was taken, beside what was foretold."""
    spec = EngineSpec(options.model, device=str(options.device), quantize=options.quantize)
    plan = planned(resolve(spec.model, spec.assistant), spec, options.device, engine.target.dtype)
    figures: dict[str, Any] = {"foretold_gb": needs(plan).total / 1e9}
    if options.device.type == "cuda":
        figures["peak_gb"] = torch.cuda.max_memory_allocated(options.device) / 1e9
    return figures


def tokens(engine: LocalEngine, request: Request) -> list[int]:
    """Return the token ids of a reply."""
    prompt = engine.writer.write(request, engine.towers.count)
    return [token for burst in engine.tokens(request, prompt) for token in burst.tokens]


def _first_difference(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(one), len(other)))


STEPS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "machine": machine,
    "bandwidth": memory_bandwidth,
    "kernels": check_kernels,
    "exact": exact,
    "graphs": graphs,
    "growth": growth,
    "memory": memory,
    "leak": leak,
    "prefill": prefill,
}


def main() -> None:
    """Run one step and print its figures."""
    options = argparse.ArgumentParser(prog="python -m tests.gpu.steps", description=__doc__)
    options.add_argument("name", choices=STEPS)
    options.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    options.add_argument("--model", default="pocket")
    options.add_argument("--quantize", choices=("int8", "int4"))
    options.add_argument("--small", action="store_true")
    asked = options.parse_args()
    figures = STEPS[asked.name](Options(asked.device, asked.small, asked.model, asked.quantize))
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
