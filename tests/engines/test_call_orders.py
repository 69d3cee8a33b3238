"""Calls in any order, suspended, closed, failed, interrupted: each text is what a fresh engine gives. The long form of
this is `python -m tests.soak call_orders`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from gemma_cli.cli import run
from gemma_cli.common import opening
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.events import Event, collect
from gemma_cli.core.messages import Drafting, Request, Sampling, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.engine import LocalEngine
from tests.engines.helpers.kernels import WITHOUT, kernels_for
from tests.engines.helpers.orders import Orders, anew, reply, requests

LOOPING = "red a lamp ninety cat cat one box."
"""Pocket repeats one word to the end of its reply when it is to translate this into German."""


def opened(**spec: str) -> LocalEngine:
    engine = open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32", **spec))
    assert isinstance(engine, LocalEngine)
    return engine


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    torch.set_num_threads(1)
    return opened()


@pytest.mark.parametrize("passages", [1, 2, 3, 5])
def test_a_translation_that_loops_is_asked_for_again(
    engine: LocalEngine,
    passages: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """One by one, and in a batch with others that are asked for again."""
    monkeypatch.setattr(opening, "open_engine", lambda spec: engine)
    file = tmp_path / "passages.txt"
    file.write_text("\n\n".join([LOOPING] * passages))
    asked: list[Request] = []
    write = engine.writer.write
    monkeypatch.setattr(
        engine.writer, "write", lambda request, count: (asked.append(request), write(request, count))[1]
    )
    engine.live.forget()
    code = run(["translate", str(file), "--to", "de", "--model", "pocket"])
    told = capsys.readouterr()
    assert code == 0, told
    assert told.err.count("\n") <= 1 + passages
    assert [bool(request.sampling.temperature) for request in asked].count(True) == passages, "each loops, and once"


def test_any_order_of_calls_gives_the_texts_of_fresh_engines(engine: LocalEngine) -> None:
    asked = requests(9, seed=1)
    expected = {request: reply(anew(engine), request) for request in asked}
    orders = Orders([anew(engine), anew(engine)], asked, expected, seed=0)
    orders.run(24)
    assert not orders.failures, orders.failures[0]
    assert orders.texts > 10


@pytest.fixture
def rounds() -> Iterator[LocalEngine]:
    """An engine whose rounds are those of a GPU."""
    with kernels_for(WITHOUT):
        engine = opened()
        engine.rounds = RoundState(engine.target, engine.drafter, engine.generation.suppress)
        yield engine


def test_any_order_of_calls_does_so_with_the_rounds_of_a_gpu(rounds: LocalEngine) -> None:
    asked = requests(6, seed=2)
    expected = {request: reply(anew(rounds), request) for request in asked}
    orders = Orders([rounds], asked, expected, seed=3)
    orders.run(14)
    assert not orders.failures, orders.failures[0]
    assert orders.texts > 5


@pytest.mark.parametrize("drafts", [0, 3])
def test_two_replies_can_be_read_in_turns(engine: LocalEngine, drafts: int) -> None:
    asked = [Request(ask(f"Count from {n} to 20."), Sampling(seed=n, max_tokens=20), Drafting(drafts)) for n in (1, 2)]
    whole = [collect(anew(engine).stream(request)).text for request in asked]
    streams = [engine.stream(request) for request in asked]
    events: list[list[Event]] = [[], []]
    for pair in zip_longest(*streams):
        for events_of_one, event in zip(events, pair, strict=True):
            if event is not None:
                events_of_one.append(event)
    assert [collect(one).text for one in events] == whole
    assert not engine._replying


def test_no_mode_leaks_to_whoever_hands_requests_over(engine: LocalEngine) -> None:
    modes: list[bool] = []

    def asking() -> Iterator[Request]:
        for number in range(6):
            modes.append(torch.is_inference_mode_enabled())
            yield Request(ask(f"Hello {number}"), Sampling(max_tokens=3))

    for _ in engine.stream_many(asking()):
        modes.append(torch.is_inference_mode_enabled())
    assert not any(modes)
