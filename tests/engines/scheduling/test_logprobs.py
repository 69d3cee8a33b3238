"""Log-probabilities are the model's own, and the same to the last bit at any draft length and in any batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Gemma4ForConditionalGeneration

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import TokenChosen, collect
from gemma_cli.core.messages import GREEDY, Drafting, Request, Sampling, ask
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.opening import open_local
from gemma_cli.engines.local.scheduling.scheduler import BatchScheduler
from tests.engines.helpers import tiny

SCHEMA = '{"type": "array", "items": {"enum": ["ab", "ba"]}, "minItems": 3, "maxItems": 5}'
SHARP = Sampling(temperature=0.4, top_k=5, top_p=0.7, min_p=0.02, seed=7, max_tokens=16)
FLAT = Sampling(temperature=2.0, top_k=0, top_p=1.0, seed=3, max_tokens=16)
REQUESTS = (
    Request((), FLAT, raw="Say: ", logprobs=5),
    Request((), replace(GREEDY, max_tokens=16), raw="<|turn>user\nOne", logprobs=0),
    Request(ask("Two"), SHARP, schema=SCHEMA, logprobs=5),
    Request(ask("Three, in a longer question. " * 4), FLAT, thinking=True, thinking_budget=6, logprobs=3),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_checkpoint(tmp_path_factory.mktemp("logprobs") / "tiny")


@pytest.fixture(scope="module")
def engine(folder: Path) -> LocalEngine:
    torch.set_num_threads(1)
    return open_local(EngineSpec(model=str(folder), device="cpu", dtype="float32"))


def scored(engine: LocalEngine, request: Request) -> list[TokenChosen]:
    """The scores of a reply that is made alone."""
    return [event for event in engine.stream(request) if isinstance(event, TokenChosen)]


@pytest.mark.parametrize("request_", REQUESTS[:3], ids=("sampled", "greedy", "schema"))
def test_they_are_those_of_a_reference_forward_pass(folder: Path, engine: LocalEngine, request_: Request) -> None:
    """What samples, and what a schema forbids, changes no number: all tokens count in the distribution."""
    prompt = engine.writer.write(request_, engine.towers.count)
    chosen = [token for burst in engine.tokens(request_, prompt) for token in burst.tokens]
    answer = [token for token in chosen if token not in engine.generation.stop]
    reference = Gemma4ForConditionalGeneration.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = reference(input_ids=torch.tensor([[*prompt.ids, *answer]])).logits[0].double()
    rows = logits.log_softmax(-1)[len(prompt.ids) - 1 :][: len(answer)]
    events = scored(engine, request_)
    assert len(answer) == len(events) >= 10
    expected = rows.gather(1, torch.tensor(answer)[:, None])[:, 0]
    assert [event.score.logprob for event in events] == pytest.approx(expected.tolist(), abs=2e-5)
    for row, event in zip(rows, events, strict=True):
        best = row.topk(request_.logprobs or 0).values.tolist()
        assert [one.logprob for one in event.likeliest] == pytest.approx(best, abs=2e-5)


def test_neither_drafts_nor_company_change_a_bit(engine: LocalEngine) -> None:
    short = [replace(request, sampling=replace(request.sampling, max_tokens=14)) for request in REQUESTS]
    alone = [scored(engine, replace(request, drafting=Drafting(0))) for request in short]
    assert all(alone)
    assert [scored(engine, replace(request, drafting=Drafting(5))) for request in short] == alone
    for first in (0, 3, 6):
        asked = [
            replace(request, drafting=Drafting(drafts, adaptive=drafts == 8))
            for drafts in range(first, first + 3)
            for request in short
        ]
        scheduler = BatchScheduler(engine, 7)
        for key, request in enumerate(asked):
            scheduler.add(key, request)
        together: list[list[TokenChosen]] = [[] for _ in asked]
        while scheduler.busy:
            for key, event in scheduler.step():
                assert not isinstance(event, GemmaError)
                if isinstance(event, TokenChosen):
                    together[key].append(event)
        assert together == alone * 3


def test_their_tokens_spell_the_answer(engine: LocalEngine) -> None:
    for request in REQUESTS:
        turn = collect(engine.stream(request))
        spelled = bytes(byte for event in scored(engine, request) for byte in event.score.utf8)
        assert spelled.decode("utf-8", "replace") == turn.text


def test_who_does_not_ask_gets_none_and_pays_nothing(engine: LocalEngine) -> None:
    request = replace(REQUESTS[0], logprobs=None)
    assert not scored(engine, request)
    assert engine.reply(request, engine.writer.write(request, engine.towers.count)).scores is None
