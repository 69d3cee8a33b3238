"""CPU time of `gemma serve` for the same requests at several loads, and the wait while a long prompt is read.

OMP_NUM_THREADS=1 python -m tests.benchmark.server_load
"""

from __future__ import annotations

from time import perf_counter, process_time
from typing import Any

import psutil

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.messages import Drafting, Request, Sampling, ask
from gemma_cli.engines.local.opening import open_local
from gemma_cli.engines.local.scheduling.scheduler import BatchScheduler
from tests.serve.load import mixed, run
from tests.serve.server import Server, chat, served

QUESTIONS = ("Tell me a story.", "Count from 1 to 20.", "Write a story about a dog.", "Tell me about the sea.")
LONG = "All work and no play makes Jack a dull boy. " * 105
"""About 2,000 tokens."""


def chats(count: int) -> list[dict[str, Any]]:
    """Chats of up to 100 tokens, half of them streamed."""
    return [
        chat(QUESTIONS[index % 4], max_tokens=100) | {"seed": index, "stream": bool(index % 2)}
        for index in range(count)
    ]


def cpu(server: Server) -> float:
    """Seconds of processor time that the server has used."""
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


def loads(server: Server) -> None:
    """Print the CPU time of each load."""
    for name, bodies in (("chats", chats(64)), ("mixed", mixed(96, seed=14))):
        run(server, bodies[:16], 1)
        run(server, bodies[:16], 16)
        alone = None
        for at_once in (1, 4, 16, 64):
            before = cpu(server)
            texts = run(server, bodies, at_once)
            spent = cpu(server) - before
            alone = alone or texts
            differ = sum(texts[index] != alone[index] for index in alone)
            print(f"{name}: {at_once:2} at once: {spent:5.2f} CPU seconds, {differ} texts differ", flush=True)


def pauses() -> None:
    """Print the longest step of the scheduler while a long prompt is read beside running replies."""
    engine = open_local(EngineSpec(model="pocket"))
    scheduler = BatchScheduler(engine, 16)
    for seed in range(4):
        sampling = Sampling(seed=seed, temperature=3.0, top_k=0, max_tokens=400)
        scheduler.add(seed, Request(ask(QUESTIONS[0]), sampling, Drafting(4, adaptive=True)))
    for _ in range(12):
        scheduler.step()
    scheduler.add(4, Request(ask(LONG), Sampling(max_tokens=2)))
    spent, wall = [], []
    begun = False
    while not begun:
        cpu_before, before = process_time(), perf_counter()
        begun = any(key == 4 for key, _ in scheduler.step())
        spent.append(process_time() - cpu_before)
        wall.append(perf_counter() - before)
    print(f"a long prompt in {len(spent)} steps, of at most {max(spent):.3f} CPU s, {max(wall):.3f} s", flush=True)


if __name__ == "__main__":
    pauses()
    with served("--max-queue", "100", "--max-running", "64") as server:
        loads(server)
