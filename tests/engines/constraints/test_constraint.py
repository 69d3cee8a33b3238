"""Replies held to rules: the same text at every draft length, and never a token that is not allowed."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import ModelError
from gemma_cli.core.events import Turn, collect
from gemma_cli.core.json_schema import checked
from gemma_cli.core.messages import Drafting, Request, Sampling, ask
from gemma_cli.engines.local.constraints.constraint import Bound, Free, Mask
from gemma_cli.engines.local.constraints.json_grammar import Grammar, vocabulary
from gemma_cli.engines.local.constraints.reply_rules import EMPTY_THOUGHT, ReplyRules, ReplyTokens
from gemma_cli.engines.local.constraints.select import Constraints
from gemma_cli.engines.local.decoding.decode import FixedDraftLength, decode
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.opening import open_local
from gemma_cli.engines.local.text.tokenizer import load_tokenizer
from tests.engines.text.test_prompt import TRUE, needs_true

QUESTION = ask("What is 27 + 45?")
POCKET = Path(__file__).parents[3] / "gemma_cli" / "pocket" / "pocket"
SUM = {
    "type": "object",
    "properties": {
        "said": {"type": "string", "maxLength": 6},
        "sum": {"type": "integer", "minimum": 0, "maximum": 999},
    },
    "required": ["said", "sum"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    torch.set_num_threads(1)
    return open_local(EngineSpec("pocket", device="cpu", dtype="float32"))


def schema(value: Any) -> str:
    return checked(json.dumps(value), "schema.json")


def reply(engine: LocalEngine, request: Request, drafts: int) -> Turn:
    turn = collect(engine.stream(replace(request, drafting=Drafting(drafts))))
    return replace(turn, timings=Turn().timings, speculation=Turn().speculation)


def allows(mask: Mask | None, token: int) -> bool:
    return mask is None or bool(mask[token >> 3] >> (token & 7) & 1)


# The seam


class Whims:
    """Allows about a third of all ids, others after every text; anything after some, and one alone after some."""

    def __init__(self, size: int) -> None:
        self.size, self.said = size, list[int]()

    def allowed(self) -> Mask | None:
        chance = random.Random(hash(tuple(self.said)))
        kind = chance.randrange(4)
        if kind == 0:
            return None
        mask = np.frombuffer(chance.randbytes(self.size // 8), np.uint8)
        if kind == 1:
            return np.where(np.arange(len(mask)) == chance.randrange(len(mask)), np.uint8(16), np.uint8(0))
        return mask & np.frombuffer(chance.randbytes(len(mask)), np.uint8)

    def push(self, token: int) -> bool:
        if not allows(self.allowed(), token):
            return False
        self.said.append(token)
        return True

    def pop(self, count: int) -> None:
        del self.said[len(self.said) - count :]


def test_the_text_does_not_depend_on_the_draft_length(engine: LocalEngine) -> None:
    sampling = Sampling(seed=3)
    prompt = engine.writer.write(Request(ask("Count from 1 to 10.")), engine.towers.count)
    texts = []
    for drafts in range(9):
        cache, prefilled, _ = engine.live.read(prompt, lambda span: torch.empty(0), 12)
        rules = Whims(engine.target.vocab_size)
        bursts = decode(
            *(engine.target, engine.drafter, cache, prefilled, Sampler(sampling), FixedDraftLength(drafts)),
            stop=(),
            limit=12,
            constraint=Bound(rules),
        )
        said = [token for burst in bursts for token in burst.tokens]
        assert rules.said == said
        texts.append(said)
    assert texts == [texts[0]] * 9


def test_a_request_that_asks_for_nothing_costs_nothing(engine: LocalEngine) -> None:
    constraint = engine.constraints.of(Request(ask("Hello."), thinking_budget=9), in_thought=False)
    assert isinstance(constraint, Free)
    logits = torch.zeros(1, 8)
    assert constraint.masked(logits, ()) is logits
    assert isinstance(engine.constraints.of(Request(ask("Hello."), thinking=True), in_thought=False), Free)


def test_rows_are_masked_by_the_drafts_before_them() -> None:
    rules = Whims(64)
    rules.said.append(1)  # a text after which not everything is allowed
    bound = Bound(rules)
    drafts = torch.tensor([next(token for token in range(64) if allows(rules.allowed(), token)), 7])
    rows = bound.masked(torch.zeros(3, 64), (drafts,))
    expected = [rules.allowed()]
    assert expected[0] is not None
    assert rules.push(int(drafts[0]))
    expected.append(rules.allowed())
    expected.append(rules.allowed() if rules.push(7) else None)
    for row, mask in zip(rows, expected, strict=True):
        assert row.isfinite().tolist() == [allows(mask, token) for token in range(64)]
    ids = torch.arange(63, 31, -1)[None]
    rules.pop(len(rules.said) - 1)
    short = Bound(rules).masked(torch.zeros(1, 32), (), ids)
    assert short[0].isfinite().tolist() == [allows(expected[0], token) for token in range(63, 31, -1)]


def test_a_token_that_is_not_allowed_ends_in_an_error_not_in_a_wrong_text() -> None:
    with pytest.raises(ModelError, match="does not allow the next token"):
        Bound(ReplyRules(WORDS, answer=Grammar(VOCABULARY, schema(SUM)))).accept([WORD])


# Schemas


@pytest.mark.parametrize("thinking", [False, True])
def test_a_reply_fits_its_schema_at_every_draft_length(engine: LocalEngine, thinking: bool) -> None:
    request = Request(QUESTION, Sampling(seed=2), thinking=thinking, thinking_budget=30, schema=schema(SUM))
    plain = reply(engine, request, 0)
    assert plain.finish_reason == "stop"
    assert plain.usage.thinking_tokens == 30 * thinking
    assert bool(plain.thinking) == thinking
    found = json.loads(plain.text)
    assert plain.text == json.dumps(found, ensure_ascii=False)
    assert list(found) == ["said", "sum"]
    assert 0 <= found["sum"] <= 999
    assert len(found["said"]) <= 6
    for drafts in (8,) if thinking else (1, 2, 5):
        assert reply(engine, request, drafts) == plain


def test_what_only_seems_a_marker_stays_in_the_json(engine: LocalEngine) -> None:
    said = "<turn|>\n<|channel>x\x1b[2J\u202e <"
    turn = reply(engine, Request(ask("Say it."), Sampling(max_tokens=150), schema=schema({"const": said})), 4)
    assert turn.finish_reason == "stop"
    assert json.loads(turn.text) == said
    assert turn.thinking == ""


def test_a_limit_of_tokens_cuts_json_off(engine: LocalEngine) -> None:
    turn = reply(engine, Request(ask("Say it."), Sampling(max_tokens=5), schema=schema(SUM)), 4)
    assert turn.finish_reason == "length"
    assert turn.usage.completion_tokens == 5


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
TOKENIZER = load_tokenizer(POCKET)
STOPS = frozenset(token for token in map(TOKENIZER.id_of, ("<eos>", "<turn|>")) if token is not None)
VOCABULARY = vocabulary(TOKENIZER, 2048, STOPS)


@settings(deadline=None, max_examples=40)
@given(VALUES)
def test_any_json_can_be_written_and_ends_where_it_ends(value: Any) -> None:
    """Token by token, as the tokenizer cuts it: what has been pushed can be undone, and stops come at the end alone."""
    rules = Grammar(VOCABULARY, schema({}))
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    tokens = TOKENIZER.encode_text(text)
    for token in tokens:
        mask = rules.allowed()
        assert allows(mask, token), TOKENIZER.token_of(token)
        if not isinstance(value, int):
            assert not any(allows(mask, stop) for stop in STOPS)
        assert rules.push(token)
        rules.pop(1)
        assert rules.push(token)
    rules.pop(len(tokens))
    assert all(map(rules.push, tokens))
    assert all(allows(rules.allowed(), stop) for stop in STOPS)
    assert not any(allows(rules.allowed(), TOKENIZER.id_of(token) or 0) for token in ("<|channel>", "<|tool_response>"))


def test_a_model_that_cannot_end_a_reply_is_refused() -> None:
    constraints = Constraints(TOKENIZER, 2048, frozenset())
    with pytest.raises(ModelError, match="no end-of-turn token"):
        constraints.of(Request(ask("Hello."), schema=schema(SUM)), in_thought=False)


@needs_true
def test_the_true_vocabulary_writes_the_same_json() -> None:
    tokenizer = load_tokenizer(TRUE)
    words = vocabulary(tokenizer, 262_144, [1, 106])
    rules = Grammar(words, schema(SUM))
    for token in tokenizer.encode_text('{"said": "ö😀", "sum": 12}'):
        assert allows(rules.allowed(), token)
        assert rules.push(token)
    mask = rules.allowed()
    assert [token for token in range(262_144) if allows(mask, token)] == [1, 106]


# Thoughts

OPEN, CLOSE, LINE, CALL, CALLED, STOP, WORD = range(7)
WORDS = ReplyTokens(8, OPEN, CLOSE, LINE, CALL, CALLED, frozenset({STOP}), lambda token: token == LINE)


@settings(deadline=None)
@given(st.integers(0, 12), st.lists(st.integers(0, 7), max_size=40), st.booleans())
def test_a_budget_is_never_exceeded(budget: int, wanted: list[int], in_thought: bool) -> None:
    """Whatever a model would say, what it may say thinks no longer than that, and ends its thoughts in the format."""
    rules = ReplyRules(WORDS, budget=budget, thinking=True, in_thought=in_thought)
    thought, inside, said = 0, in_thought, [WORD]
    for want in wanted:
        mask = rules.allowed()
        token = want if allows(mask, want) else next(token for token in range(8) if allows(mask, token))
        if inside and token == CLOSE != want and budget > 1:
            assert said[-1] == LINE
        assert rules.push(token)
        said.append(token)
        thought += inside or token == OPEN
        inside = token not in (CLOSE, STOP) if inside else token == OPEN
        assert thought <= max(budget, in_thought)
        if token == STOP:
            return


@pytest.mark.parametrize("budget", range(8))
def test_a_thought_is_begun_where_the_budget_holds_the_shortest(budget: int) -> None:
    """<|channel>, the word thought, a line break and <channel|> are four tokens."""
    rules = ReplyRules(WORDS, budget=budget, thinking=True)
    assert allows(rules.allowed(), OPEN) == (budget >= 4)
    assert allows(rules.allowed(), WORD)


def test_a_budget_closes_the_thought_as_the_model_does(engine: LocalEngine) -> None:
    question = Request(QUESTION, Sampling(temperature=0.0, max_tokens=80), thinking=True)
    whole = reply(engine, question, 4)
    budget = whole.usage.thinking_tokens // 2
    assert budget > EMPTY_THOUGHT
    limited = replace(question, thinking_budget=budget)
    plain = reply(engine, limited, 0)
    assert budget - 1 <= plain.usage.thinking_tokens <= budget
    assert whole.thinking.startswith(plain.thinking)
    assert plain.text
    assert reply(engine, limited, 4) == reply(engine, limited, 8) == plain
    assert reply(engine, replace(question, thinking_budget=2 * budget + 1), 4) == whole


def test_a_schema_keeps_a_thought_from_ending_the_reply_and_lets_a_tool_be_called() -> None:
    answer = Grammar(VOCABULARY, schema(SUM))
    marks = ("<|channel>", "<channel|>", "\n", "<|tool_call>", "<tool_call|>", "<turn|>")
    opening, closing, newline, calling, called, stop = (TOKENIZER.id_of(mark) or 0 for mark in marks)
    words = ReplyTokens(2048, opening, closing, newline, calling, called, STOPS, lambda token: token == newline)
    brace = TOKENIZER.encode_text("{")[0]
    rules = ReplyRules(words, answer=answer, thinking=True, tools=True)
    assert [token for token in (opening, calling, brace, stop, newline) if allows(rules.allowed(), token)] == [
        *(opening, calling, brace)
    ]
    assert rules.push(opening)
    assert rules.push(newline)
    assert not rules.push(stop)
    assert rules.push(closing)
    assert not rules.push(opening)
    assert rules.push(brace)
    assert not rules.push(calling)
    rules.pop(1)
    assert rules.push(calling)
    assert rules.push(brace)
    assert not rules.push(stop)
    assert rules.push(called)
    assert not rules.push(brace)
    assert rules.push(stop)
    rules.pop(7)
    assert rules.push(brace)
