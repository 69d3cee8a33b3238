"""`gemma chat` for programs: answers held to a schema, events as JSON lines, thoughts within a budget."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from gemma_cli.cli import run
from gemma_cli.common import opening
from gemma_cli.core.engine import Engine, EngineInfo, EngineSpec
from gemma_cli.core.errors import ModelError
from gemma_cli.core.events import Delta, Event
from gemma_cli.core.messages import Drafting, Request
from gemma_cli.engines import open_engine
from gemma_cli.engines.scripted import INFO, Reply, ScriptedEngine
from tests.cli.helpers.command import Outcome

SCHEMA = {
    "type": "object",
    "properties": {"says": {"type": "string", "maxLength": 4}, "sum": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["says", "sum"],
    "additionalProperties": False,
}
HOSTILE = (
    "\x1b[2J \x1b]52;c;ZXZpbA==\x07 \x1b]8;;http://x\x1b\\ \x9b31m \x90q\x9c \x7f \r \x08 "
    "\u202e \u2066 \u200b \U000e0041 [/b] :smile: \u2028 <turn|> <|channel>"
)

Chat = Callable[..., Outcome]


@pytest.fixture(scope="module")
def pocket() -> Engine:
    return open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))


class Piped(io.TextIOWrapper):
    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Chat:
    """`gemma chat ARGUMENTS` with this engine, in tmp_path, with `stdin` piped in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMMA_MODEL", "pocket")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))

    def command(engine: Engine, *arguments: str, stdin: str | bytes = "") -> Outcome:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", Piped(io.BytesIO(content)))
        monkeypatch.setattr(opening, "open_engine", lambda spec: engine)
        capsys.readouterr()
        code = run(["chat", *arguments])
        said = capsys.readouterr()
        assert not [character for character in said.out + said.err if character != "\n" and not character.isprintable()]
        return Outcome(code, said.out, said.err)

    return command


@dataclass
class Failing:
    """Says a word and breaks down."""

    info: EngineInfo = INFO
    requests: list[Request] = field(default_factory=list)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        self.requests.append(request)
        yield Delta("answer", "Wait")
        raise ModelError("it broke\x1b[2J down")


@pytest.mark.parametrize("way", ["piped", "-f", "-a"])
def test_bad_bytes_in_a_text_are_refused_in_one_way_however_it_comes(chat: Chat, tmp_path: Path, way: str) -> None:
    content = "Straße\nT".encode() + b"\xfcr\n"
    (tmp_path / "a.txt").write_bytes(content)
    engine = Failing()
    given, stdin = ((), content) if way == "piped" else ((way, "a.txt"), b"")
    refused = chat(engine, "Count.", *given, stdin=stdin)
    name = "standard input" if way == "piped" else "a.txt"
    assert (refused.code, engine.requests) == (2, [])
    assert refused.err == (
        f"gemma: {name}: not valid UTF-8: byte 0xfc at offset 9 (line 2); remove invalid "
        "bytes with iconv -c -f UTF-8, or if the text has another encoding, give --encoding NAME\n"
    )
    chat(engine, "Count.", *given, "--encoding", "cp1252", "--no-save", stdin=stdin)
    assert "Tür" in engine.requests[0].messages[-1].text


def test_an_encoding_of_nothing_is_refused(chat: Chat) -> None:
    assert "--encoding applies only to attached or piped texts" in chat(Failing(), "Hi", "--encoding", "cp1252").err
    assert "--encoding klingon: unknown" in chat(Failing(), "Hi", "--encoding", "klingon", stdin="Hi").err


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_an_answer_is_one_line_of_json(chat: Chat, pocket: Engine) -> None:
    outcome = chat(pocket, "What is 27 + 45?", "--schema", "schema.json", "--seed", "1")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert outcome.out == json.dumps(found, ensure_ascii=False) + "\n"
    assert list(found) == ["says", "sum"]
    told = json.loads(chat(pocket, "What is 27 + 45?", "--schema", "schema.json", "--seed", "1", "--json").out)
    assert json.loads(told["text"]) == found


def test_json_that_is_cut_off_is_a_failure(chat: Chat, pocket: Engine) -> None:
    arguments = ("What is 27 + 45?", "--schema", "schema.json", "--max-tokens", "3")
    outcome = chat(pocket, *arguments)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "the JSON is incomplete, because the reply reached --max-tokens (3): raise --max-tokens" in outcome.err
    assert "raise --max-tokens" in outcome.err
    told = chat(pocket, *arguments, "--stream-json")
    assert (told.code, told.err) == (1, outcome.err)
    assert lines(told)[-1]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"type": "str\x1b[2Jng"', "not JSON: Invalid control character at line 1, column 14"),
        ('{"properties": {"a\\u001b[2J": {"type": "s\\u001b[31m"}}}', "/properties/a^[[2J: Invalid type: s^[[31m"),
        ("\0", "not a text"),
    ],
)
def test_a_bad_schema_is_told_before_a_model_is_loaded(chat: Chat, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    chat(Failing(), "Hello.", "--schema", "bad.json").refuses("bad.json", words)


def test_a_schema_that_is_not_there_is_an_event_too(chat: Chat) -> None:
    chat(Failing(), "Hello.", "--schema", "no.json").refuses("no.json", "no such file")
    outcome = chat(Failing(), "Hello.", "--schema", "no.json", "--stream-json")
    assert outcome.code == 2
    assert lines(outcome) == [
        {"type": "error", "message": "no.json: no such file; check the path", "exit_code": 2},
    ]


def test_events_come_as_lines_and_end_with_what_json_prints(chat: Chat) -> None:
    engine = ScriptedEngine([Reply("Red and blue.", "Let me see.")], accepted=(1, 0))
    outcome = chat(engine, "What?", "--think", "--stream-json", "--seed", "5", "--draft-tokens", "2")
    assert (outcome.code, outcome.err) == (0, "")
    start, *events, done = lines(outcome)
    assert start == {
        "type": "start",
        **{"model": "scripted", "assistant": None, "device": "cpu", "dtype": "float32", "context": 8192, "seed": 5},
    }
    assert [event for event in events if event["type"] == "delta"] == [
        *({"type": "delta", "channel": "thinking", "text": text} for text in ("Let", " me", " see.")),
        *({"type": "delta", "channel": "answer", "text": text} for text in ("Red", " and", " blue.")),
    ]
    assert [event for event in events if event["type"] == "round"] == [
        {"type": "round", "drafted": 2, "accepted": 1, "source": "drafter"},
        {"type": "round", "drafted": 2, "accepted": 0, "source": "drafter"},
        {"type": "round", "drafted": 1, "accepted": 1, "source": "drafter"},
    ]
    engine.requests.clear()
    whole = json.loads(chat(engine, "What?", "--think", "--json", "--seed", "5", "--draft-tokens", "2").out)
    assert done.pop("type") == "done"
    assert done.pop("timings").keys() == whole.pop("timings").keys()
    assert done == whole
    assert done["usage"]["thinking_tokens"] == 3


def test_what_breaks_down_ends_in_an_event_and_a_line(chat: Chat) -> None:
    outcome = chat(Failing(), "Hello.", "--stream-json")
    assert (outcome.code, outcome.err) == (1, "gemma: it broke^[[2J down\n")
    assert lines(outcome)[1:] == [
        {"type": "delta", "channel": "answer", "text": "Wait"},
        {"type": "error", "message": "it broke\x1b[2J down", "exit_code": 1},
    ]


def test_nothing_in_a_reply_drives_the_terminal_and_nothing_is_lost(chat: Chat) -> None:
    engine = ScriptedEngine([Reply(HOSTILE, HOSTILE)])
    *events, done = lines(chat(engine, "Hello.", "--think", "--stream-json"))
    for channel in ("answer", "thinking"):
        assert "".join(event["text"] for event in events if event.get("channel") == channel) == HOSTILE
    assert (done["text"], done["thinking"]) == (HOSTILE, HOSTILE)
    quoted = json.dumps(HOSTILE, ensure_ascii=False)
    outcome = chat(ScriptedEngine([Reply(quoted, HOSTILE)]), "Hello.", "--think", "--schema", "schema.json")
    assert json.loads(outcome.out) == HOSTILE
    assert "^[[2J" in outcome.err
    assert chat(
        ScriptedEngine([Reply("1", HOSTILE)]), "?", "--think", "--schema", "schema.json", "--hide-thinking"
    ) == (Outcome(0, "1\n", ""))


def test_a_budget_reaches_the_engine_from_option_and_environment(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine([Reply("Yes.", "Hm.")])
    chat(engine, "Hello.", "--think", "--thinking-budget", "40")
    monkeypatch.setenv("GEMMA_THINKING_BUDGET", "50")
    chat(engine, "Hello.")
    chat(engine, "Hello.", "--think", "--thinking-budget", "0")
    assert [request.thinking_budget for request in engine.requests] == [40, 50, None]
    chat(engine, "Hello.", "--thinking-budget", "-1").refuses("--thinking-budget", "whole number from 0 to 262144")


@pytest.mark.parametrize(
    ("option", "partner"),
    [
        ("--thinking-budget 9", "--think"),
        ("--show-thinking", "--think"),
        ("--tool-timeout 9", "--tool or --mcp"),
        ("--summarize", "--continue or --session"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(chat: Chat, option: str, partner: str) -> None:
    chat(ScriptedEngine([Reply("Yes.")]), "Hello.", *option.split()).refuses(option.split()[0], f"give {partner} too")


def configure(tmp_path: Path, content: str) -> None:
    (tmp_path / "gemma-cli").mkdir(exist_ok=True)
    (tmp_path / "gemma-cli" / "config.toml").write_text(content)


def test_a_preset_sets_model_prompt_and_sampling(chat: Chat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("GEMMA_MODEL")
    configure(
        tmp_path,
        "temperature = 0.5\nthinking-budget = 7\n"
        '[presets.coder]\nmodel = "pocket"\nsystem = "@coder.md"\ntop-k = 3\nthink = true\ndraft-tokens = 2\n',
    )
    (tmp_path / "gemma-cli" / "coder.md").write_text("Write code.\n")
    engine = ScriptedEngine([Reply("Yes.")])
    assert chat(engine, "Hello.", "--preset", "coder", "--top-k", "9") == Outcome(0, "Yes.\n", "")
    (request,) = engine.requests
    assert request.messages[0].text == "Write code."
    assert (request.sampling.temperature, request.sampling.top_k, request.thinking) == (0.5, 9, True)
    assert (request.drafting, request.thinking_budget) == (Drafting(2), 7)
    chat(engine, "Hello.", "--preset", "code").refuses("no preset is named 'code'", "did you mean coder")
    (tmp_path / "gemma-cli" / "coder.md").unlink()
    chat(engine, "Hello.", "--preset", "coder").refuses("coder.md: no such file")


def test_a_system_prompt_is_read_from_a_file(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "prompt.md").write_text("\ufeffBe brief.\n\n")
    engine = ScriptedEngine([Reply("Yes.")])
    for given in ("@prompt.md", "@@home", "Be brief.", ""):
        chat(engine, "Hello.", "--system", given)
    prompts = [[message.text for message in request.messages[:-1]] for request in engine.requests]
    assert prompts == [["Be brief."], ["@home"], ["Be brief."], []]
    chat(engine, "Hello.", "--system", "@nowhere").refuses("nowhere", "no such file")


@pytest.mark.parametrize(
    ("arguments", "content", "saved"),
    [
        ((), "", False),
        (("--save",), "", True),
        ((), "save = true\n", True),
        (("--no-save",), "save = true\n", False),
        ((), "save = false\n", False),
    ],
)
def test_a_single_answer_is_saved_where_that_is_asked_for(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], content: str, saved: bool
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    configure(tmp_path, content)
    assert chat(ScriptedEngine([Reply("Yes.")]), "Hello.", *arguments).code == 0
    assert (tmp_path / "gemma-cli" / "sessions.db").exists() == saved


def test_a_budget_is_kept_and_counted(chat: Chat, pocket: Engine) -> None:
    arguments = ("What is 27 + 45?", "--think", "--thinking-budget", "9", "--json", "--max-tokens", "20")
    assert json.loads(chat(pocket, *arguments).out)["usage"]["thinking_tokens"] == 9


@dataclass
class Interrupting:
    """The real engine, with Ctrl-C pressed after so many events of a reply."""

    engine: Engine
    after: int

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    def stream(self, request: Request) -> Generator[Event, None, None]:
        with closing(self.engine.stream(request)) as events:
            yield from islice(events, self.after)
            signal.raise_signal(signal.SIGINT)
            yield from events


@pytest.mark.parametrize("form", ["--json", "--stream-json"])
def test_an_interrupted_reply_has_the_figures_it_had_reached(chat: Chat, pocket: Engine, form: str) -> None:
    arguments = ("Tell me what you are.", form, "--seed", "1", "--draft-tokens", "1", "--stats")
    whole = lines(chat(pocket, *arguments))[-1]
    seen = set()
    for after in (0, 1, 2, 6, 10):
        outcome = chat(Interrupting(pocket, after), *arguments)
        told = lines(outcome)[-1]
        assert outcome.code == 130
        assert told["finish_reason"] == "interrupted"
        assert whole["text"].startswith(told["text"])
        usage, timings, speculation = told["usage"], told["timings"], told["speculation"]
        if not after:
            assert set(usage.values()) == {None}, "nothing was decoded"
            continue
        assert usage["prompt_tokens"] == whole["usage"]["prompt_tokens"]
        assert usage["completion_tokens"] == 1 + speculation["target_passes"] + speculation["accepted"]
        assert timings["ttft_s"] > 0
        several = usage["completion_tokens"] > 1
        assert (timings["decode_s"] is not None) is (timings["tokens_per_second"] is not None) is several
        assert f"{usage['prompt_tokens']} tokens read, {usage['completion_tokens']} written" in outcome.err
        seen.add(usage["completion_tokens"])
    assert len(seen) > 2


def test_what_does_not_go_together_is_refused(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    chat(Failing(), "Hello.", "--json", "--stream-json").refuses("--json", "--stream-json", "give one of them")
    monkeypatch.setattr(Piped, "terminal", True)
    for flag in (["--json"], ["--stream-json"], ["--schema", "schema.json"]):
        chat(Failing(), *flag).refuses(flag[0], "give a PROMPT")
