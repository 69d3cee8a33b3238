"""Time to the first token of a second turn over the length of the chat before it, beside that of a first.

    OMP_NUM_THREADS=1 python -m tests.benchmark.second_turn [MODEL [ROUNDS]]

MODEL: pocket (the default), synthetic:e2b and so on. CPU time of the process in milliseconds, medians of nine rounds
(or ROUNDS), each with seven second turns that differ in one word, so that each goes on from the first. The same history
twice: in twelve long exchanges for 4,000 tokens, and in short ones, of which it takes 95.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from statistics import median

from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.core.events import Turn, collect
from gemma_cli.core.messages import GREEDY, Message, Request, Text, ask

SENTENCES = "Anna sees the dog. The dog is behind the tree. Tom buys 7 red apples. It is cold in the garden. "
ROUNDS = 9
COUNTS = ("two", "three", "four", "five", "six", "eight", "nine")


def history(exchanges: int, repeats: int) -> tuple[Message, ...]:
    """A chat of `exchanges` answers, each `repeats` times four sentences long."""
    turn = (Message("user", (Text("Tell me a story."),)), Message("assistant", (Text(SENTENCES * repeats),)))
    return turn * exchanges


CHATS = {
    "100": history(1, 3),
    "1,000, long turns": history(3, 12),
    "2,000, long turns": history(6, 12),
    "4,000, long turns": history(12, 12),
    "4,000, short turns": history(95, 1),
}


def answer(engine: Engine, messages: tuple[Message, ...]) -> Turn:
    return collect(engine.stream(Request(messages, replace(GREEDY, max_tokens=16))))


def main() -> None:
    time.perf_counter = time.process_time  # before the engine imports it by name
    from gemma_cli.engines.local.opening import open_local

    model = sys.argv[1] if len(sys.argv) > 1 else "pocket"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    engine = open_local(EngineSpec(model))
    turns: dict[str, list[tuple[Turn, list[Turn]]]] = {name: [] for name in CHATS}
    for _ in range(rounds + (model == "pocket")):  # there the first one warms up
        for name, chat in CHATS.items():
            engine.live.forget()
            first = (*chat, *ask("Repeat: Anna sees the dog."))
            said = answer(engine, first)
            second = (*first, Message("assistant", (Text(said.text),)))
            asked = [ask(f"List {count} numbers, one per line.") for count in COUNTS]
            turns[name].append((said, [answer(engine, (*second, *question)) for question in asked]))
    print("history | tokens | first turn | second turn | to that after 100")
    reference = 0.0
    for name, seen in turns.items():
        seen = seen[model == "pocket" :]
        first_ms = median(said.timings.ttft_s or 0.0 for said, _ in seen) * 1e3
        second_ms = median(turn.timings.ttft_s or 0.0 for _, after in seen for turn in after) * 1e3
        reference = reference or second_ms
        tokens = seen[0][1][0].usage.prompt_tokens
        print(f"{name} | {tokens} | {first_ms:.0f} ms | {second_ms:.1f} ms | {second_ms / reference:.2f}")


if __name__ == "__main__":
    main()
