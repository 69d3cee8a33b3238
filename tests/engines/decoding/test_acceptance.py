"""How many drafts of pocket's drafter are accepted: a fault in drafting leaves the text alone and takes the speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch

from gemma_cli.benchmark.suites import POCKET
from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.events import Done, Round, Speculation, Turn, collect
from gemma_cli.core.json_schema import checked
from gemma_cli.core.messages import GREEDY, Drafting, Request, Sampling, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.scheduling.scheduler import BatchScheduler

DRAFTS = 4
SCHEMA = checked('{"type": "array", "items": {"enum": ["one", "two", "three", "four", "five"]}}', "schema")
KINDS = {
    "greedy": (GREEDY, {}),
    "sampled": (Sampling(seed=3), {}),
    "sampled with a schema": (Sampling(seed=5), {"schema": SCHEMA}),
}
FLOORS = {
    "greedy": (0.87, 0.80, 0.78, 0.77),
    "sampled": (0.85, 0.78, 0.73, 0.69),
    "sampled with a schema": (0.12, 0.0, 0.0, 0.0),
}
"""Of what is drafted at each position: what is accepted, less a tenth."""


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    torch.set_num_threads(1)
    engine = open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))
    assert isinstance(engine, LocalEngine)
    return engine


def requests(kind: str) -> list[Request]:
    sampling, rules = KINDS[kind]
    drafting = Drafting(DRAFTS)
    return [Request(ask(one.text), replace(sampling, max_tokens=48), drafting, **rules) for one in POCKET]  # type: ignore[arg-type]


def alone(engine: LocalEngine, request: Request) -> Turn:
    """A reply with nothing to go on from."""
    engine.live.forget()
    return collect(engine.stream(request))


@pytest.fixture(scope="module")
def replies(engine: LocalEngine) -> Callable[[str], Speculation]:
    """What was drafted and accepted in the replies of a kind, each alone; they are given once."""
    return cache(lambda kind: pooled([alone(engine, request) for request in requests(kind)]))


def pooled(turns: Sequence[Turn]) -> Speculation:
    return Speculation([one for turn in turns for one in turn.speculation.rounds])


@pytest.mark.parametrize("kind", KINDS)
def test_of_each_draft_position_enough_is_accepted(replies: Callable[[str], Speculation], kind: str) -> None:
    shares = replies(kind).acceptance_by_position
    assert shares is not None
    assert len(shares) == DRAFTS
    assert all(share >= floor for share, floor in zip(shares, FLOORS[kind], strict=True)), shares


@pytest.mark.parametrize("kind", KINDS)
def test_in_company_as_much_is_accepted_as_alone(
    engine: LocalEngine, replies: Callable[[str], Speculation], kind: str
) -> None:
    """By the scheduler, whose replies are drafted together and end one by one."""
    asked = requests(kind)
    wanted = replies(kind)
    scheduler = BatchScheduler(engine, len(asked))
    for key, request in enumerate(asked):
        scheduler.add(key, request)
    rounds: list[Round] = []
    while scheduler.busy:
        rounds += [event for _, event in scheduler.step() if isinstance(event, Round)]
    found = Speculation(rounds)
    assert (found.drafted, found.accepted) == (wanted.drafted, wanted.accepted)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(seed=2)])
def test_after_edits_and_retries_as_much_is_accepted_as_by_a_fresh_engine(
    engine: LocalEngine, sampling: Sampling
) -> None:
    """What the drafter reads of a cache that is used again is what it reads of a new one."""
    sampling = replace(sampling, max_tokens=40)
    chat = Conversation().saying("Count from 1 to 12.")
    for change in ("next", "retry", "edit", "next", "retry"):
        request = chat.request(sampling, Drafting(DRAFTS), thinking=False)
        reused = collect(engine.stream(request))
        assert isinstance(list(engine.stream(request))[-1], Done), "a retry of the same"
        fresh = alone(engine, request)
        assert reused.speculation.rounds == fresh.speculation.rounds, change
        assert reused.speculation.accepted > 5
        chat = chat.hearing(reused, "pocket")
        if change == "next":
            chat = chat.saying(POCKET[1].text)
        elif change == "retry":
            chat = chat.without_reply()
        else:
            chat = chat.without_exchange()[0].saying("Repeat: Anna sees the dog. The dog is behind the tree.")
