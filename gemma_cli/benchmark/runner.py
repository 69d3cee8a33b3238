"""Times arms against each other: the same prompts, the same seed, run after run in turns.

Run 0 is as long as the others and warms up (kernels, caches, the drafting controller); it is not counted. The order of
the arms alternates, so that a machine that slowly heats up slows both. Every prompt is prefilled cold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from gemma_cli.benchmark.suites import Prompt
from gemma_cli.core.engine import Engine
from gemma_cli.core.events import Turn, collect
from gemma_cli.core.messages import GREEDY, Drafting, Request, Sampling, ask

_OTHER = Request(ask("-"), sampling=replace(GREEDY, max_tokens=1), drafting=Drafting(0))


@dataclass(frozen=True)
class Arm:
    """A way of decoding in a comparison; `peer`: run by another program as a baseline."""

    name: str
    drafting: Drafting
    peer: bool = False


@dataclass(frozen=True)
class Measurement:
    """One reply; run 0 is the warm-up."""

    run: int
    arm: Arm
    prompt: Prompt
    turn: Turn


def measure(
    engine: Engine,
    prompts: Sequence[Prompt],
    arms: Sequence[Arm],
    sampling: Sampling,
    runs: int,
    peer: Engine | None = None,
    between: Callable[[], object] = lambda: None,
) -> Iterator[Measurement]:
    """(runs + 1) * len(arms) * len(prompts) replies, in the order they are made.

    peer: answers for the arms that are marked so. between: called before each run that counts.
    """
    for run in range(runs + 1):
        if run:
            between()
        for arm in arms if run % 2 else reversed(arms):
            asked = peer if arm.peer else engine
            assert asked is not None
            for prompt in prompts:
                if not arm.peer and (len(prompts) == 1 or prompt.history):
                    read_something_else(engine)  # otherwise the prompt, or its history, would still be in the cache
                request = Request((*prompt.history, *ask(prompt.text)), sampling=sampling, drafting=arm.drafting)
                yield Measurement(run, arm, prompt, _reply(asked, request))


def read_something_else(engine: Engine) -> None:
    """Have the engine read another prompt, so that the next one is not found in its cache."""
    _reply(engine, _OTHER)


def _reply(engine: Engine, request: Request) -> Turn:
    with closing(engine.stream(request)) as events:
        return collect(events)
