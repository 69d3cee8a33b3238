"""What a long history costs the next turn: processor time to the first token of a second turn, by length of the first.

python -m tests.engines.second_turn      prints a line per length; the model is pocket, on one core
"""

from __future__ import annotations

import statistics
from contextlib import closing
from time import process_time

import torch

from gemma_cli.engines import EngineSpec
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.events import Delta
from gemma_cli.messages import GREEDY, Message, Request, Text, ask

SENTENCE = "The red house has nine big cats and one small dog. "
RUNS = 7


def first_token(engine: LocalEngine, request: Request) -> float:
    """Seconds until there is text."""
    began = process_time()
    with closing(engine.stream(request)) as events:
        next(event for event in events if isinstance(event, Delta))
        return process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    engine = LocalEngine.open(EngineSpec(model="pocket", device="cpu"))
    for sentences in (6, 325):
        whole, second = [], []
        for run in range(RUNS):
            history = (*ask(f"{run}: {SENTENCE * sentences}"), Message("assistant", (Text("Yes."),)))
            whole.append(first_token(engine, Request(history[:1], GREEDY)))
            asked = Request((*history, *ask("Repeat: big cats")), GREEDY)
            second.append(first_token(engine, asked))
        length = len(engine.writer.write(asked, engine.towers.count).ids)
        print(
            f"{length} tokens: first turn {statistics.median(whole) * 1000:.1f} ms,"
            f" second {statistics.median(second) * 1000:.1f} ms"
        )


if __name__ == "__main__":
    main()
