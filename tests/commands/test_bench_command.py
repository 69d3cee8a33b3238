"""`gemma bench` on a scripted engine: what its options make of the arms and files, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_cli.cli import run
from gemma_cli.commands import bench
from gemma_cli.common import opening
from gemma_cli.core.engine import EngineSpec
from gemma_cli.engines.scripted import INFO, Reply, ScriptedEngine
from tests.cli.helpers.command import Gemma, Outcome

WORDS = " ".join(f"word{i}" for i in range(60))


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> list[EngineSpec]:
    """What the command asks for: it gets a drafter that is right twice a round, and a peer that never is."""
    asked: list[EngineSpec] = []

    def open_engine(spec: EngineSpec) -> ScriptedEngine:
        asked.append(spec)
        info = replace(INFO, assistant="guess", synthetic_acceptance=spec.synthetic_acceptance)
        return ScriptedEngine([Reply(WORDS)], accepted=[2], info=info)

    peer = ScriptedEngine([Reply(WORDS)], info=replace(INFO, model="transformers 9.9"))
    monkeypatch.setattr(opening, "open_engine", open_engine)
    monkeypatch.setattr(bench, "open_stock", lambda engine: peer)
    monkeypatch.setenv("GEMMA_MODEL", "pocket")
    return asked


@pytest.fixture
def gemma(
    specs: list[EngineSpec], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Gemma:
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Outcome:
        code = run(["bench", "--runs", "1", "--max-tokens", "20", *map(str, arguments)])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return command


def test_a_sweep_against_a_peer_with_samples(gemma: Gemma, tmp_path: Path) -> None:
    outcome = gemma("--sweep", "4,0,2", "--against", "transformers", "--samples", "s.jsonl", "--prompt", "go", "--json")
    found = json.loads(outcome.out)
    assert [arm["draft_tokens"] for arm in found["arms"]] == [0, 2, 4]
    assert [arm["draft_tokens"] for arm in found["peer"]["arms"]] == [0, 2, 4]
    assert found["peer"]["name"] == "transformers 9.9"
    assert set(found["ratio_to_peer"]) == {"plain", "speculative", "speculative_to_plain"}
    samples = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert len(samples) == 2 * 6  # a warm-up and a run of six arms
    assert {entry["completion_tokens"] for entry in samples} == {20}


def test_contexts_become_categories(gemma: Gemma) -> None:
    found = json.loads(gemma("--context", "100,300", "--prompt", "go", "--json", "-q").out)
    lengths = {entry["name"]: entry["arms"][0]["prompt_tokens"] for entry in found["categories"]}
    assert set(lengths) == {"100 tokens", "300 tokens"}
    assert lengths["100 tokens"] <= 100 < lengths["300 tokens"] <= 300


def test_a_made_up_acceptance_reaches_the_engine_and_every_heading(gemma: Gemma, specs: list[EngineSpec]) -> None:
    outcome = gemma("--synthetic-acceptance", "0.8", "--prompt", "go")
    assert [spec.synthetic_acceptance for spec in specs] == [0.8]
    assert outcome.out.count("with probability 0.8") == 2  # two tables


def test_curves_are_drawn_in_the_terminal(gemma: Gemma) -> None:
    out = gemma("--sweep", "0,1,2", "--prompt", "go").out
    assert "tokens/s over draft tokens: scripted, cpu, float32" in out
    assert "█" in out


def test_settings_for_chats_do_not_reach_a_bench(
    gemma: Gemma, specs: list[EngineSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its model does; the draft length there leaves a sweep as it is."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "gemma-cli").mkdir()
    (tmp_path / "gemma-cli" / "config.toml").write_text(
        'temperature = 2\nmax-tokens = 7\ndraft-tokens = 3\ndtype = "float32"\n'
    )
    told = json.loads(gemma("--sweep", "0,1", "--prompt", "go", "--json", "--runs", "1").out)
    assert [arm["draft_tokens"] for arm in told["arms"]] == [0, 1]
    assert specs[-1].dtype == "float32"
    assert told["seed"] == 0
    told = json.loads(gemma("--prompt", "go", "--json", "--runs", "1").out)
    assert [arm["draft_tokens"] for arm in told["arms"]] == [0, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--sweep 1,x", ["--sweep 1,x", "0 to 16"]),
        ("--sweep 17", ["--sweep 17", "0 to 16"]),
        ("--sweep ,", ["--sweep", "commas"]),
        ("--sweep 1,2 --draft-tokens 3", ["--draft-tokens"]),
        ("--sweep 1,2 --draft-tokens 0", ["--draft-tokens"]),
        ("--sweep 1,2 --draft-tokens auto", ["--draft-tokens"]),
        ("--context 0", ["--context 0"]),
        ("--context 9000", ["--context 9000", "8192"]),
        ("--samples there/s.jsonl", ["there/s.jsonl", "folder"]),
        ("--samples old.jsonl", ["old.jsonl", "exists"]),
        ("--plot curve.svg", ["curve.svg", ".png"]),
        ("--against llama", ["llama", "transformers"]),
    ],
)
def test_refusals_are_one_line_and_come_before_measuring(
    gemma: Gemma, tmp_path: Path, arguments: str, words: list[str]
) -> None:
    (tmp_path / "old.jsonl").write_text("mine\n")
    outcome = gemma(*arguments.split())
    assert outcome.code == 2
    assert outcome.out == ""
    assert all(word in outcome.err for word in words), outcome.err
    assert (tmp_path / "old.jsonl").read_text() == "mine\n"


def test_quantizations_beside_each_other_tell_how_long_they_will_take(gemma: Gemma, specs: list[EngineSpec]) -> None:
    outcome = gemma("--quantize", "int8,int4", "--prompt", "go")
    assert [spec.quantize for spec in specs] == [None, "int8", "int4"]
    assert "measuring 2 replies of each takes about " in outcome.err
    assert "plain, tokens/s" in outcome.out
    assert "replies of each" not in gemma("--quantize", "int8,int4", "--prompt", "go", "--quiet").err


def test_a_task_scores_plain_and_drafted_side_by_side(gemma: Gemma, tmp_path: Path) -> None:
    items = [{"prompt": "go", "answer": " ".join(WORDS.split()[:20])}, {"prompt": "stop", "answer": "other"}]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    outcome = gemma("--task", "chat", "--data", "items.jsonl", "--json", "--samples", "replies.jsonl")
    found = json.loads(outcome.out)
    assert (outcome.code, found["task"], found["texts_equal"]) == (0, "chat", True)
    assert [(arm["name"], arm["items"], arm["exact"]) for arm in found["quality"]] == [
        ("plain", 2, 0.5),
        ("speculative", 2, 0.5),
    ]
    replies = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert sorted((reply["arm"], reply["item"], reply["right"]) for reply in replies) == [
        ("plain", "go", True),
        ("plain", "stop", False),
        ("speculative", "go", True),
        ("speculative", "stop", False),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--task chat", ["--data FILE"]),
        ("--data items.jsonl", ["apply only to a --task"]),
        ("--task chat --data items.jsonl --prompt go", ["--task cannot be combined"]),
        ("--task translate --data texts.jsonl", ["--to LANGUAGE"]),
        ("--task chat --data gone.jsonl", ["gone.jsonl", "no such file"]),
        ("--task chat --data items.jsonl --quantize int8,int4", ["once for each"]),
        ("--task chat --data items.jsonl --engine http://127.0.0.1:9", ["on this machine"]),
        ("--report page.htm", ["page.htm", ".html"]),
    ],
)
def test_what_a_task_and_a_report_refuse(gemma: Gemma, tmp_path: Path, options: str, words: list[str]) -> None:
    (tmp_path / "items.jsonl").write_text('{"prompt": "go", "answer": "gone"}')
    (tmp_path / "texts.jsonl").write_text('{"text": "Hallo", "translation": "Hello"}')
    gemma(*options.split()).refuses(*words)


def test_the_report_names_the_command_that_made_it(gemma: Gemma, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'gemma-cli[plot]'")
    assert gemma("--prompt", "go on", "--report", "page.html").code == 0
    text = (tmp_path / "page.html").read_text()
    assert "gemma bench --prompt &#39;go on&#39; --max-tokens 20 --report page.html --runs 1</pre>" in text
    gemma("--prompt", "go on", "--report", "page.html").refuses("page.html", "already exists")
