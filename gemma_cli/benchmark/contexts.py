"""Prompts of a given length: the question is at the end of a chat of that length.

How many turns that takes is found by asking the engine: control tokens stand between turns, so their tokens add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from gemma_cli.benchmark.suites import Prompt
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import collect
from gemma_cli.core.messages import GREEDY, Drafting, Message, Request, Text, ask

Exchange = tuple[str, str]
Exchanges = tuple[Exchange, ...]

STANDARD: Exchanges = (
    (
        "What should I see in Lisbon in one day?",
        "Begin in Alfama, early, while the streets are cool: walk up to the castle and look over the river. Take the "
        "tram down to Baixa for lunch, then the train to Belém for the monastery and the tower. End the day at one of "
        "the viewpoints of Bairro Alto, where people bring their own wine and wait for the sun to set.",
    ),
    (
        "Why does bread dough have to rest?",
        "Two things happen while it rests. The yeast eats sugar and gives off gas, which fills the dough with bubbles; "
        "and the strands of gluten, pulled tight by kneading, relax, so that the dough can be shaped without tearing. "
        "A long rest in the cold does both slowly and gives more flavour.",
    ),
    (
        "How do I undo the last commit but keep my changes?",
        "Use git reset --soft HEAD~1. The commit disappears from the branch and everything in it is staged again, "
        "ready to be committed anew. If you have already pushed it, prefer git revert, which adds a commit that takes "
        "the changes back and leaves history as it is.",
    ),
)

POCKET: Exchanges = (
    ("Repeat: Anna sees the dog. The dog is behind the tree.", "Anna sees the dog. The dog is behind the tree."),
    ("Count from 3 to 9.", "3, 4, 5, 6, 7, 8, 9"),
    ("Translate into German: The dog is behind the tree.", "Der Hund ist hinter dem Baum."),
    ("Spell: garden", "g-a-r-d-e-n"),
    ("List five numbers, one per line.", "- one\n- two\n- three\n- four\n- five"),
    ("Write 347 in words.", "three hundred and forty seven"),
)


def filled(engine: Engine, prompts: Sequence[Prompt], lengths: Sequence[int], room: int) -> tuple[Prompt, ...]:
    """Each prompt at each of `lengths` tokens, or as long as leaves `room` for the reply; the length is the category.

    A prompt is never longer than asked, and shorter by less than one exchange. Raises UsageError for a length that
    the model cannot read, or that a prompt fills by itself.
    """
    for length in lengths:
        if length > engine.info.context:
            raise UsageError(
                f"--context {length}: {engine.info.model} accepts at most "
                f"{engine.info.context} tokens; give a smaller --context"
            )
    exchanges = POCKET if engine.info.model.startswith("pocket") else STANDARD
    sizes = [_size(engine, Prompt("", "-", _turns(exchanges[:count]))) for count in range(len(exchanges) + 1)]
    most = engine.info.context - room
    return tuple(
        replace(prompt, category=f"{length} tokens", history=_history(engine, prompt, exchanges, sizes, length, most))
        for length in lengths
        for prompt in prompts
    )


def _history(
    engine: Engine, prompt: Prompt, exchanges: Exchanges, sizes: Sequence[int], length: int, most: int
) -> tuple[Message, ...]:
    """The turns that make `prompt` min(length, most) tokens long. sizes: of a prompt after 0, 1, 2, ... exchanges."""
    left = min(length, most) - _size(engine, prompt)
    if left < 0:
        raise UsageError(
            f"--context {length}: the prompt alone is longer; give a larger --context or a shorter --prompt"
        )
    cycles, rest = divmod(left, sizes[-1] - sizes[0])
    partial = sum(size - sizes[0] <= rest for size in sizes[1:])
    return _turns((*(exchanges * cycles), *exchanges[:partial]))


def _turns(exchanges: Exchanges) -> tuple[Message, ...]:
    return tuple(message for exchange in exchanges for message in _messages(exchange))


def _messages(exchange: Exchange) -> Iterator[Message]:
    question, answer = exchange
    yield Message("user", (Text(question),))
    yield Message("assistant", (Text(answer),))


def _size(engine: Engine, prompt: Prompt) -> int:
    """Tokens of a prompt as the engine counts them."""
    request = Request(
        (*prompt.history, *ask(prompt.text)), sampling=replace(GREEDY, max_tokens=1), drafting=Drafting(0)
    )
    with closing(engine.stream(request)) as events:
        return collect(events).usage.prompt_tokens
