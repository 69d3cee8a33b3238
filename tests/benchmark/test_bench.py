"""The bench on an engine whose rounds are known: what is run, what is counted, and what is said about it."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from gemma_cli.benchmark.figures import summarize
from gemma_cli.benchmark.objects import as_object
from gemma_cli.benchmark.remarks import remarks
from gemma_cli.benchmark.report import renderables
from gemma_cli.benchmark.runner import Arm, Measurement, measure
from gemma_cli.benchmark.suites import POCKET, STANDARD, Prompt, read_prompts, suite_for
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Done, Event, Round, Speculation, Timings, Turn, Usage
from gemma_cli.core.messages import GREEDY, Drafting, Request
from gemma_cli.engines.scripted import INFO, Reply, ScriptedEngine

PLAIN, SPECULATIVE = Arm("plain", Drafting(0)), Arm("speculative", Drafting(4))
ARMS = (PLAIN, SPECULATIVE)
PROMPTS = (Prompt("code", "write"), Prompt("prose", "tell"))
FORTY_WORDS = " ".join(f"word{i}" for i in range(41))


def reply(
    run: int, arm: Arm, seconds: float, text: str = "same", tokens: int = 101, rounds: Sequence[Round] = ()
) -> Measurement:
    turn = Turn(
        text=text,
        usage=Usage(completion_tokens=tokens),
        timings=Timings(ttft_s=0.5, decode_s=seconds),
        speculation=Speculation(list(rounds)),
    )
    return Measurement(run, arm, PROMPTS[0], turn)


def test_arms_take_turns_after_a_warm_up_of_full_length() -> None:
    engine = ScriptedEngine([Reply(FORTY_WORDS)])
    done = list(measure(engine, PROMPTS, ARMS, replace(GREEDY, max_tokens=40), runs=3))
    order = [(m.run, m.arm.name) for m in done if m.prompt == PROMPTS[0]]
    assert [run for run, _ in order] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [arm for _, arm in order] == ["speculative", "plain", "plain", "speculative"] * 2
    assert {m.turn.usage.completion_tokens for m in done} == {40}
    assert {r.sampling for r in engine.requests} == {replace(GREEDY, max_tokens=40)}


def test_a_single_prompt_is_never_asked_twice_in_a_row() -> None:
    engine = ScriptedEngine([Reply(FORTY_WORDS)])
    list(measure(engine, PROMPTS[:1], ARMS, GREEDY, runs=2))
    asked = [request.messages for request in engine.requests]
    assert all(before != after for before, after in pairwise(asked))


def test_figures_are_medians_over_runs_without_the_warm_up() -> None:
    report = summarize(
        INFO,
        GREEDY,
        [
            *(reply(0, arm, 100.0) for arm in ARMS),
            *(reply(run, PLAIN, seconds) for run, seconds in enumerate((2.0, 4.0, 1.0), start=1)),
            *(reply(run, SPECULATIVE, 1.0, rounds=[Round(4, 3), Round(4, 1)]) for run in (1, 2, 3)),
        ],
    )
    plain, speculative = report.arms
    assert plain.tokens_per_second is not None
    assert vars(plain.tokens_per_second) == {"median": 50.0, "min": 25.0, "max": 100.0}
    assert report.speedup == 2.0
    assert report.runs == 3
    assert speculative.ttft_s == 0.5
    assert speculative.speculation.acceptance_rate == 0.5
    assert speculative.speculation.mean_acceptance_length == 3.0
    assert speculative.speculation.acceptance_by_position == [1.0, 0.5, 0.5, 0.0]


def test_a_run_is_as_fast_as_all_its_tokens_over_all_its_time() -> None:
    slow, fast = reply(1, PLAIN, 9.0, tokens=10), reply(1, PLAIN, 1.0, tokens=92)
    (plain,) = summarize(INFO, GREEDY, [slow, fast]).arms
    assert plain.tokens_per_second is not None
    assert plain.tokens_per_second.median == pytest.approx((9 + 91) / 10)


def test_tells_where_texts_part() -> None:
    report = summarize(INFO, GREEDY, [reply(1, PLAIN, 1.0, "one two"), reply(1, SPECULATIVE, 1.0, "one tap")])
    assert report.divergence is not None
    assert (report.divergence.arm, report.divergence.character) == ("speculative", 5)
    assert as_object(report, lambda _s, _n: None)["texts_equal"] is False
    assert any("differ" in remark for remark in remarks(report))


def test_a_text_that_ends_early_differs_where_it_ends() -> None:
    report = summarize(INFO, GREEDY, [reply(1, PLAIN, 1.0, "one two"), reply(2, PLAIN, 1.0, "one")])
    assert report.divergence is not None
    assert (report.divergence.run, report.divergence.character) == (2, 3)


def test_one_arm_has_nothing_to_be_compared_with() -> None:
    found = as_object(summarize(INFO, GREEDY, [reply(1, PLAIN, 1.0)]), lambda _s, _n: None)
    assert (found["speedup"], found["texts_equal"], found["first_divergence"]) == (None, None, None)


def test_replies_of_one_token_have_no_speed() -> None:
    report = summarize(INFO, GREEDY, [reply(1, arm, 0.0, tokens=1) for arm in ARMS])
    assert [figures.tokens_per_second for figures in report.arms] == [None, None]
    assert report.speedup is None
    assert "-" in drawn(report)


def test_warns_of_what_makes_figures_doubtful() -> None:
    few = summarize(INFO, GREEDY, [reply(1, PLAIN, 1.0, tokens=9), reply(2, PLAIN, 2.0, tokens=9)])
    said = " ".join(remarks(few))
    assert "9 tokens on average" in said
    assert "more than 25 %" in said
    assert "2 runs" in said
    solid = summarize(INFO, GREEDY, [reply(run, PLAIN, 1.0) for run in range(1, 6)])
    assert remarks(solid) == []


class Drafter(ScriptedEngine):
    """Says its text in half the target passes when it drafts; time is what the passes would take."""

    def stream(self, request: Request) -> Generator[Event, None, None]:
        passes = 0
        for event in super().stream(request):
            passes += isinstance(event, Round)
            if isinstance(event, Done):
                event = replace(event, timings=Timings(ttft_s=0.1, decode_s=0.1 * passes))
            yield event


def test_a_drafter_that_is_half_right_shows_in_the_table() -> None:
    engine = Drafter([Reply(FORTY_WORDS)], accepted=[1])
    report = summarize(INFO, GREEDY, measure(engine, PROMPTS, ARMS, replace(GREEDY, max_tokens=41), runs=5))
    assert report.speedup == pytest.approx(2.0)
    table = drawn(report)
    for expected in ("plain", "speculative", "10.0", "20.0", "2.00x", "100 ms", "code", "prose", "100%", "at 4"):
        assert expected in table, table
    assert "2.00 times as fast" in table
    assert "All texts are equal" in table


def drawn(report: object) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(*renderables(report), sep="\n")  # type: ignore[arg-type]
    return out.getvalue()


def test_pocket_gets_prompts_it_can_answer() -> None:
    assert suite_for("pocket") is POCKET
    assert suite_for("google/gemma-4-E2B-it") is STANDARD
    assert len({prompt.category for prompt in STANDARD}) == len(STANDARD)


def test_prompts_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a", "category": "x"}\n\n{"prompt": "b"}\n')
    assert read_prompts(path) == (Prompt("x", "a"), Prompt("prompts", "b"))


@pytest.mark.parametrize("content", ["", "hello\n", '{"text": "a"}\n', "[1]\n", '{"prompt": 3}\n', '{"prompt": " "}\n'])
def test_prompts_that_are_none_name_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"prompts\.jsonl") as raised:
        read_prompts(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="missing"):
        read_prompts(tmp_path / "missing")
