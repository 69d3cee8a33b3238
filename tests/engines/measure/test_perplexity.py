"""Perplexity, on pocket, which knows what it was taught."""

from __future__ import annotations

import math

import pytest
import torch

from gemma_cli.benchmark.side_by_side import held_out
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.messages import Request, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.measure import perplexity, weight_bytes
from gemma_cli.engines.scripted import ScriptedEngine

ASKED, SAID = "Repeat this: The dog is behind the tree.", "The dog is behind the tree."


def opened(**spec: str) -> LocalEngine:
    torch.set_num_threads(1)
    engine = open_engine(EngineSpec(model="pocket", assistant="off", device="cpu", dtype="float32", **spec))  # type: ignore[arg-type]
    assert isinstance(engine, LocalEngine)
    return engine


@pytest.fixture(scope="module")
def pocket() -> LocalEngine:
    return opened()


@pytest.fixture(scope="module")
def eight() -> LocalEngine:
    return opened(quantize="int8")


@torch.inference_mode()
def test_it_is_what_reading_token_by_token_gives(pocket: LocalEngine) -> None:
    """Every token from a prompt of its own, read anew."""
    ids = [*pocket.writer.write(Request(ask(ASKED)), pocket.towers.count).ids]
    end = pocket.tokenizer.id_of("<turn|>")
    assert end is not None
    surprise = []
    for token in (*pocket.tokenizer.encode(SAID), end):
        logits, _ = pocket.target.prefill(torch.tensor(ids), pocket.target.new_cache())
        surprise.append(-torch.log_softmax(logits[0], -1)[token].item())
        ids.append(token)
    assert perplexity(pocket, [(ASKED, SAID)]) == pytest.approx(math.exp(sum(surprise) / len(surprise)), rel=1e-4)


def test_a_right_reply_surprises_less_than_a_wrong_one(pocket: LocalEngine) -> None:
    right, wrong = perplexity(pocket, [(ASKED, SAID)]), perplexity(pocket, [(ASKED, "tree The behind dog 9 is.")])
    assert right is not None
    assert wrong is not None
    assert 1 <= right < 1.5 < wrong


def test_rounding_pocket_to_eight_bits_costs_next_to_nothing(pocket: LocalEngine, eight: LocalEngine) -> None:
    some = [(prompt, reply) for prompt, reply in held_out() if prompt.startswith("Translate")][:4]
    plain, rounded = perplexity(pocket, some), perplexity(eight, some)
    assert plain is not None
    assert rounded == pytest.approx(plain, rel=0.05)
    assert weight_bytes(eight) == pytest.approx(weight_bytes(pocket) / 4, rel=0.1)  # type: ignore[operator]
    assert eight.target.rows.exact


def test_no_held_out_reply_is_in_a_form_that_pocket_does_not_use(pocket: LocalEngine) -> None:
    """One reply in an old form has a perplexity of hundreds and hides what rounding costs in all the others."""
    each = {prompt: perplexity(pocket, [(prompt, reply)]) for prompt, reply in held_out()}
    assert {prompt: found for prompt, found in each.items() if found is None or found > 3} == {}


def test_four_bits_lose_more_than_eight(pocket: LocalEngine, eight: LocalEngine) -> None:
    as_stored, in_eight, in_four = (
        math.log(perplexity(engine, held_out()) or 0) for engine in (pocket, eight, opened(quantize="int4"))
    )
    assert in_eight == pytest.approx(as_stored, rel=0.05)
    assert in_four > 1.1 * as_stored


def test_nothing_is_known_of_an_engine_elsewhere() -> None:
    assert perplexity(ScriptedEngine([]), held_out()) is None
    assert weight_bytes(ScriptedEngine([])) is None


def test_the_bundled_replies_are_whole() -> None:
    replies = held_out()
    assert len(replies) == 40
    assert all(prompt.strip() and reply.strip() for prompt, reply in replies)
    assert len({prompt for prompt, _ in replies}) == 40
