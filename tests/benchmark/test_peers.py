"""A bench against a peer, over draft lengths and contexts, with what memory gives: figures, tables, JSON, plots."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from gemma_cli.benchmark import memory, plots
from gemma_cli.benchmark.contexts import STANDARD, filled
from gemma_cli.benchmark.figures import Report, summarize
from gemma_cli.benchmark.memory import Memory
from gemma_cli.benchmark.objects import as_object, sample
from gemma_cli.benchmark.plots import bars, charts, check_drawable, draw
from gemma_cli.benchmark.remarks import remarks
from gemma_cli.benchmark.report import renderables
from gemma_cli.benchmark.runner import Arm, Measurement, measure
from gemma_cli.benchmark.suites import Prompt
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Round, Speculation, Timings, Turn, Usage
from gemma_cli.core.messages import GREEDY, Drafting, Message, Sampling, Text
from gemma_cli.engines.scripted import INFO, Reply, ScriptedEngine

PEER = replace(INFO, model="transformers 9.9")
PROMPT = Prompt("code", "write")


def arm(draft_tokens: int, peer: bool = False) -> Arm:
    return Arm(f"{'stock' if peer else 'ours'} {draft_tokens}", Drafting(draft_tokens), peer)


def reply(run: int, of: Arm, seconds: float, text: str = "same", prompt: Prompt = PROMPT) -> Measurement:
    """101 tokens; drafts are accepted but for the last of each round."""
    drafts = of.drafting.draft_tokens
    turn = Turn(
        text=text,
        usage=Usage(prompt_tokens=10 * len(prompt.history) + 5, completion_tokens=101),
        timings=Timings(ttft_s=0.5, decode_s=seconds),
        speculation=Speculation([Round(drafts, max(0, drafts - 1))] * (100 // max(drafts, 1))),
    )
    return Measurement(run, of, prompt, turn)


def compared(*measured: Measurement, info: EngineInfo = INFO, sampling: Sampling = GREEDY) -> Report:
    return summarize(info, sampling, measured, PEER)


def nothing(_speculation: object, _draft_tokens: int) -> None:
    return None


def drawn(*shown: Any, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(*shown, sep="\n")
    return out.getvalue()


# What is fair to hold against what


def test_each_arm_is_held_against_the_peers_with_as_many_drafts() -> None:
    seconds = {arm(0): 10.0, arm(4): 4.0, arm(0, True): 20.0, arm(4, True): 16.0}
    report = compared(*(reply(1, of, time) for of, time in seconds.items()))
    found = as_object(report, nothing)
    assert found["peer"]["name"] == "transformers 9.9"
    assert [entry["name"] for entry in found["peer"]["arms"]] == ["stock 0", "stock 4"]
    assert found["ratio_to_peer"] == {"plain": 2.0, "speculative": 4.0, "speculative_to_plain": 5.0}
    assert found["speedup"] == 2.5
    table = drawn(*renderables(report))
    for expected in ("4.00x", "2.50x", "Speculative decoding is 4.00 times as fast as that of transformers 9.9"):
        assert expected in " ".join(table.split()), table


def test_another_text_from_the_peer_is_told_and_is_no_bug_of_ours() -> None:
    report = compared(reply(1, arm(0), 1.0), reply(1, arm(4), 1.0), reply(1, arm(0, True), 1.0, "sane"))
    found = as_object(report, nothing)
    assert (found["texts_equal"], found["first_divergence"]) == (True, None)
    assert found["peer"]["first_divergence"]["character"] == 2
    assert any("character 2" in remark and "bug" not in remark for remark in remarks(report))


def test_a_peer_that_samples_otherwise_is_not_compared_by_text() -> None:
    warm = replace(GREEDY, temperature=1.0)
    report = compared(reply(1, arm(0), 1.0), reply(1, arm(0, True), 1.0, "sane"), sampling=warm)
    assert report.peer_divergence is None


def test_made_up_acceptance_stands_over_every_table_and_says_nothing_of_texts() -> None:
    chance = replace(INFO, model="synthetic:e2b", synthetic_acceptance=0.8)
    measured = [reply(1, arm(0), 2.0, "one"), reply(1, arm(2), 1.0, "two")]
    for report in (
        compared(*measured, info=chance),
        compared(*measured, reply(1, arm(4), 1.0, "three"), info=chance),
    ):
        tables = [shown for shown in renderables(report) if hasattr(shown, "columns")]
        assert tables
        assert all("with probability 0.8" in drawn(table) for table in tables)
        assert as_object(report, nothing)["texts_equal"] is None
        assert as_object(report, nothing)["synthetic_acceptance"] == 0.8
        assert not any("equal" in remark or "differ:" in remark for remark in remarks(report))


# Sweeps and contexts


def test_a_sweep_has_a_row_for_each_length_and_names_the_best() -> None:
    seconds = {0: 10.0, 1: 6.0, 2: 4.0, 4: 5.0}
    report = compared(*(reply(1, arm(count), time) for count, time in seconds.items()))
    assert report.speedup == 2.5
    assert report.overall.best is not None
    assert report.overall.best.arm == arm(2)
    table = drawn(*renderables(report))
    assert [line.split()[0] for line in table.splitlines() if "x " in line or line.endswith("x")][:4] == list("0124")
    assert "2.50 times as fast as plain decoding here, with 2 drafts" in " ".join(table.split())
    (chart,) = charts(report)
    assert [point.x for point in chart.lines["gemma"]] == [0, 1, 2, 4]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(20, 400), min_size=1, max_size=3, unique=True), st.integers(1, 12))
def test_a_context_is_filled_to_less_than_one_exchange(lengths: list[int], words: int) -> None:
    """The scripted engine counts words, so turns add up as they do behind control tokens."""
    engine = ScriptedEngine([Reply("well")])
    asked = Prompt("prose", " ".join(["word"] * words))
    longest = max(len(f"{question} {answer}".split()) for question, answer in STANDARD)
    for prompt, length in zip(filled(engine, [asked], lengths, 64), lengths, strict=True):
        size = sum(len(message.text.split()) for message in prompt.history) + words
        assert length - longest < size <= length
        assert (prompt.category, prompt.text) == (f"{length} tokens", asked.text)


def test_a_context_leaves_room_for_the_reply() -> None:
    engine = ScriptedEngine([Reply("well")], info=replace(INFO, context=300))
    (prompt,) = filled(engine, [PROMPT], [300], room=100)
    assert sum(len(message.text.split()) for message in prompt.history) + 1 <= 200


def test_contexts_that_cannot_be() -> None:
    engine = ScriptedEngine([Reply("well")])
    with pytest.raises(UsageError, match=r"9000.*8192"):
        filled(engine, [PROMPT], [9000], 10)
    with pytest.raises(UsageError, match="the prompt alone is longer"):
        filled(engine, [Prompt("prose", "a long question indeed")], [2], 10)


def test_a_chat_that_was_read_is_not_found_in_the_cache() -> None:
    engine = ScriptedEngine([Reply("well")])
    prompts = [replace(PROMPT, history=(Message("user", (Text(word),)),)) for word in ("one", "two")]
    list(measure(engine, prompts, [arm(0)], GREEDY, runs=1))
    asked = [request.messages for request in engine.requests]
    assert all(len(one) == 1 or len(other) == 1 for one, other in pairwise(asked))


# Memory


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads 10 GB/s; a round takes 1 GB, 100 MB for each draft and 1 MB for each token before it."""
    monkeypatch.setattr(memory, "read_bandwidth", lambda engine: 10e9)
    monkeypatch.setattr(memory, "round_bytes", lambda engine, drafts, length: 10**9 + drafts * 10**8 + length * 10**6)


@pytest.mark.usefixtures("machine")
def test_efficiency_is_what_was_read_over_what_could_have_been() -> None:
    known = Memory(ScriptedEngine([Reply("well")]))
    turn = Turn(
        usage=Usage(prompt_tokens=99, completion_tokens=6),
        timings=Timings(decode_s=1.0),
        speculation=Speculation([Round(2, 2), Round(2, 1)]),
    )
    assert known.efficiency([turn]) is None  # nothing is known before the bandwidth was measured
    known.sample()
    assert known.efficiency([turn]) == pytest.approx((2 * 1.2e9 + 100e6 + 103e6) / 10e9)
    report = summarize(INFO, GREEDY, [reply(1, arm(0), 50.0), reply(1, arm(4), 5.0)], memory=known)
    best = as_object(report, nothing)
    assert best["bandwidth"] == 10_000_000_000
    assert best["round_efficiency"] == pytest.approx(25 * 1.4e9 / 5 / 10e9, rel=0.1)
    assert "efficiency" in drawn(*renderables(report))


def test_where_nothing_is_known_of_memory_nothing_is_said() -> None:
    known = Memory(ScriptedEngine([Reply("well")]))
    known.sample()
    report = summarize(INFO, GREEDY, [reply(1, arm(0), 1.0)], memory=known)
    found = as_object(report, nothing)
    assert (found["bandwidth"], found["round_efficiency"]) == (None, None)


# What is written


def test_a_sample_is_one_reply_as_it_was() -> None:
    found = sample(reply(0, arm(4), 2.0))
    assert (found["run"], found["arm"], found["draft_tokens"], found["decode_s"]) == (0, "ours 4", 4, 2.0)
    assert found["rounds"] == [[4, 3]] * 25
    assert found["text"] == "same"


def by_context() -> Report:
    said: list[Measurement] = []
    for turns, slow in ((2, 1.0), (20, 4.0)):
        prompt = Prompt(f"{turns} tokens", "write", (Message("user", (Text("hi"),)),) * turns)
        said += [reply(1, arm(0), slow, prompt=prompt), reply(1, arm(4), slow / 2, prompt=prompt)]
    return compared(*said)


def test_bars_are_as_long_as_speeds() -> None:
    (chart,) = charts(by_context())
    assert {name: [point.x for point in points] for name, points in chart.lines.items()} == {
        "ours 0": [25, 205],
        "ours 4": [25, 205],
    }
    lengths = [line.count("█") for line in drawn(bars(chart), width=100).splitlines() if "ours" in line]
    assert lengths == [20, 40, 5, 10]


def test_a_png_of_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'gemma-cli[plot]'")
    shown: Sequence[plots.Chart] = charts(by_context())
    draw(shown, tmp_path / "context.png")
    assert (tmp_path / "context.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_what_cannot_be_drawn_is_told_before_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"curve\.svg.*PNG"):
        check_drawable(Path("curve.svg"))
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"gemma-cli\[plot\]"):
        check_drawable(Path("curve.png"))
