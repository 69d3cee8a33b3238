"""Several quantizations beside each other: what is run, and what the table says."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gemma_cli.benchmark import side_by_side
from gemma_cli.benchmark.objects import as_object
from gemma_cli.benchmark.runner import Arm
from gemma_cli.benchmark.suites import Prompt
from gemma_cli.commands.bench_parts.options import BenchEngineOptions
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import GREEDY, Drafting
from gemma_cli.engines.scripted import INFO, Reply, ScriptedEngine
from gemma_cli.views.json import speculation_object

ARMS = (Arm("plain", Drafting(0)), Arm("speculative", Drafting(4)))
WORDS = " ".join(f"word{i}" for i in range(20))


def shown() -> tuple[side_by_side.Column, ...]:
    engines = [ScriptedEngine([Reply(WORDS)]) for _ in range(2)]
    engines[1].info = replace(INFO, quantize="int4")
    measured = list(side_by_side.in_turns(engines, [Prompt("code", "write")], ARMS, GREEDY, runs=1))
    assert [[m.arm.name for m in pair] for pair in measured[:2]] == [["speculative"] * 2, ["plain"] * 2]
    return side_by_side.columns(engines, GREEDY, measured)


def test_there_is_a_column_for_each() -> None:
    screen = Console(file=io.StringIO(), width=100)
    screen.print(*side_by_side.renderables(shown()))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert text.index("as stored") < text.index("int4")
    assert "plain, tokens/s" in text
    assert "1.00x" in text
    assert "all runs wrote the same texts" in text


def test_json_has_what_is_not_known_as_null() -> None:
    columns = shown()
    reports = [as_object(column.report, speculation_object) for column in columns]
    found = side_by_side.as_object(columns, reports)["columns"]
    assert [column["quantize"] for column in found] == [None, "int4"]
    assert found[0]["weight_bytes"] is None
    assert found[0]["perplexity"] is None


def test_one_or_several_may_be_asked_for() -> None:
    assert BenchEngineOptions(quantize="int4").spec().quantize == "int4"
    assert BenchEngineOptions().spec().quantize is None
    both = BenchEngineOptions(model="pocket", quantize="int8,int4")
    assert [each.spec().quantize for each in both.each()] == [None, "int8", "int4"]
    assert {each.spec().model for each in both.each()} == {"pocket"}


@pytest.mark.parametrize("text", ["int2", ",", "int8 int4"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give int8 or int4, or both"):
        BenchEngineOptions(quantize=text).spec()
