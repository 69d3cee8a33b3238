"""Tokens per second of processor time, ours against transformers' generate, on a machine that has other things to do.

python -m tests.engines.against_stock      two tables; the model is pocket, on one core

`gemma bench --against transformers` measures what a user waits for; beside other programs that is mostly their doing.
Every clock of the engines is replaced by one that counts what this process computed, and the arms take turns.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from time import process_time

import torch

from gemma_cli.benchmark.suites import POCKET
from gemma_cli.engines import Engine, EngineSpec
from gemma_cli.engines.local import stock
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.events import collect
from gemma_cli.messages import GREEDY, Drafting, Request, Sampling, ask

RUNS = 3
DRAFTS = 4


def speed(engine: Engine, sampling: Sampling, drafts: int) -> float:
    """Tokens a second, first tokens left out, over the prompts that pocket can answer."""
    seconds, tokens = 0.0, 0
    for prompt in POCKET:
        turn = collect(engine.stream(Request(ask(prompt.text), sampling, Drafting(drafts))))
        seconds += turn.timings.decode_s or 0.0
        tokens += turn.usage.completion_tokens - 1
    return tokens / seconds


def main() -> None:
    torch.set_num_threads(1)
    ours = LocalEngine.open(EngineSpec(model="pocket", device="cpu"))
    stock.quiet()
    peer = stock.open_stock(ours)
    for name, module in list(sys.modules.items()):
        if name.startswith("gemma_cli.") and hasattr(module, "perf_counter"):
            module.perf_counter = process_time
    arms = [(ours, 0), (ours, DRAFTS), (peer, 0), (peer, DRAFTS)]
    for sampling in (replace(GREEDY, max_tokens=64), Sampling(seed=1, max_tokens=64)):
        measured = [[speed(engine, sampling, drafts) for engine, drafts in arms] for _ in range(RUNS + 1)][1:]
        print(f"temperature {sampling.temperature:g}")
        for (engine, drafts), speeds in zip(arms, zip(*measured, strict=True), strict=True):
            spread = f"{min(speeds):.0f} to {max(speeds):.0f}"
            print(f"  {engine.info.model}, {drafts} drafts: {statistics.median(speeds):.0f} tokens/s ({spread})")


if __name__ == "__main__":
    main()
