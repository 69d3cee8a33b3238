"""`gemma chat --tool`, one question at a time: calls are shown, asked for, carried out and told; on pocket for real."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gemma_cli.cli import run
from gemma_cli.commands.chat_parts import tools as _tools
from gemma_cli.common import opening
from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.core.messages import ToolCall, ToolResponse
from gemma_cli.engines import open_engine
from gemma_cli.tools import Tool, functions, toolbox
from gemma_cli.tools.calls import Permission, ToolRunner
from gemma_cli.tools.process import Worker
from tests.cli.helpers.command import SAMPLES, Outcome
from tests.tools.raw import RawEngine

ADD, NOW = f"{SAMPLES / 'tools.py'}:add", f"{SAMPLES / 'tools.py'}:now"
CALL = "<|tool_call>call:add{a:2,b:3}<tool_call|><|tool_response>"


@pytest.fixture(scope="module")
def pocket() -> Engine:
    return open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))


Chat = Callable[..., Outcome]


class Lasting(Worker):
    """The process that runs functions, for all tests together: each start takes half a second of CPU time."""

    def shown_by(self, show: Callable[[str], None]) -> Worker:
        self._show = show
        return self

    def close(self) -> None:
        """It goes on."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Lasting]:
    running = Lasting(print)
    yield running
    running.kill()


@pytest.fixture
def chat(worker: Lasting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Chat:
    """`gemma chat ARGUMENTS` with this engine, with nobody at a terminal."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setenv("GEMMA_MODEL", "pocket")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(functions, "Worker", worker.shown_by)

    def command(engine: Engine, *arguments: str) -> Outcome:
        monkeypatch.setattr(opening, "open_engine", lambda spec: engine)
        capsys.readouterr()
        code = run(["chat", *arguments])
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        return Outcome(code, said.out, said.err)

    return command


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`now` as pocket was told of it, on a clock that stands: what the model says must not depend on the time."""
    path = tmp_path_factory.mktemp("tools") / "clock.py"
    path.write_text('def now() -> str:\n    """The time."""\n    return "14:05"\n')
    return f"{path}:now"


def test_pocket_calls_a_tool_and_goes_on_from_what_it_answers(chat: Chat, pocket: Engine, clock: str):
    asked = ("What time is it?", "--tool", clock, "--allow-tool", "now", "--temperature", "0")
    outcome = chat(pocket, *asked)
    assert outcome.code == 0
    assert outcome.out.strip()
    assert outcome.err == "gemma: calls now()\ngemma: now: 14:05\n"
    assert chat(pocket, *asked, "--quiet") == Outcome(0, outcome.out, "")


def test_json_and_the_kept_chat_have_the_call_and_its_answer(
    chat: Chat, pocket: Engine, clock: str, capsys: pytest.CaptureFixture[str]
):
    asked = ("What time is it?", "--tool", clock, "--allow-tool", "all", "--temperature", "0", "--json")
    found = json.loads(chat(pocket, *asked, "--session", "clock").out)
    assert found["tool_calls"] == [{"name": "now", "arguments": {}, "response": "14:05"}]
    assert found["finish_reason"] == "stop"
    assert found["text"]
    assert run(["sessions", "show", "clock"]) == 0
    shown = capsys.readouterr().out
    assert "*[calls now]*" in shown
    assert '*[now answers]*\n\n    "14:05"' in shown
    assert run(["sessions", "show", "clock", "--json"]) == 0
    roles = [message["role"] for message in json.loads(capsys.readouterr().out)["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant"]


def test_with_nobody_to_ask_a_call_that_is_not_allowed_ends_it(chat: Chat):
    chat(RawEngine([CALL]), "add", "--tool", ADD).refuses("add(a=2, b=3)", "give --allow-tool add", code=1)
    chat(RawEngine([CALL]), "add", "--tool", ADD, "--tool", NOW, "--allow-tool", "now", "--json").refuses("add", code=1)


@contextmanager
def somebody_who_types(monkeypatch: pytest.MonkeyPatch, answers: list[str], ahead: str = "") -> Iterator[None]:
    """Somebody at a real terminal, who types each answer when a question is asked, and `ahead` before the first."""
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    monkeypatch.setenv("TERM", "dumb")  # nothing is animated
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    master, slave = pty.openpty()
    given = iter(answers)

    def asked(question: str) -> str:
        os.write(master, next(given, "no\n").encode())
        return line(question)

    line = _tools._line
    monkeypatch.setattr(_tools, "_line", asked)
    with open(master, "rb", buffering=0), open(slave) as terminal:  # noqa: PTH123 - descriptors
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(master, ahead.encode())
        yield


@pytest.mark.parametrize("ahead", ["", "y\nalways\ny\n"])
@pytest.mark.parametrize(
    ("answers", "carried_out"),
    [
        (["y\n"], [5]),
        (["no\n"], []),
        (["maybe\n", "actually not\n", "yikes\n", "y\n"], [5]),
        (["Always\n"], [5, 5]),
        (["y\ny\n", "n\n"], [5]),
        (["n\n", "\n", "a\n"], [5]),
    ],
)
def test_who_sits_at_a_terminal_is_asked_and_what_was_typed_before_is_no_answer(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, answers: list[str], carried_out: list[int], ahead: str
):
    engine = RawEngine([CALL, CALL, "done"])
    with somebody_who_types(monkeypatch, answers, ahead):
        outcome = chat(engine, "add", "--tool", ADD)
    assert (outcome.code, outcome.out) == (0, "done\n")
    told = [message.tool_responses[0].response for message in engine.requests[-1].messages if message.role == "tool"]
    assert [answer for answer in told if isinstance(answer, int)] == carried_out
    refused = [answer for answer in told if not isinstance(answer, int)]
    assert refused == [{"error": "the user did not allow this call"}] * (2 - len(carried_out))


def test_the_end_of_the_terminal_ends_it(chat: Chat, monkeypatch: pytest.MonkeyPatch):
    with somebody_who_types(monkeypatch, ["\x04"]):
        outcome = chat(RawEngine([CALL]), "add", "--tool", ADD)
    assert (outcome.code, outcome.out) == (130, "")
    assert "add: 5" not in outcome.err


def test_what_a_tool_prints_goes_to_stderr_and_cannot_drive_the_terminal(chat: Chat, tmp_path: Path):
    (tmp_path / "loud.py").write_text(
        'def shout() -> str:\n    """Shout."""\n    print("\\x1b[2Jhey")\n    return "done"\n'
    )
    engine = RawEngine(["<|tool_call>call:shout{}<tool_call|><|tool_response>", "Yes."])
    outcome = chat(engine, "go", "--tool", f"{tmp_path / 'loud.py'}:shout", "--allow-tool", "shout")
    assert outcome == Outcome(0, "Yes.\n", "gemma: calls shout()\n^[[2Jhey\ngemma: shout: done\n")


def test_a_call_that_takes_too_long_is_stopped_and_the_model_is_told(chat: Chat, tmp_path: Path):
    (tmp_path / "slow.py").write_text('def doze() -> None:\n    """Doze."""\n    import time\n    time.sleep(600)\n')
    engine = RawEngine(["<|tool_call>call:doze{}<tool_call|><|tool_response>", "I see."])
    options = ("--tool", f"{tmp_path / 'slow.py'}:doze", "--allow-tool", "doze", "--tool-timeout")
    outcome = chat(engine, "go", *options, "0.5")
    assert (outcome.code, outcome.out) == (0, "I see.\n")
    assert engine.requests[-1].messages[-1].tool_responses[0].response == {
        "error": "the call was stopped after 0.5 s without an answer (to allow more time, give --tool-timeout)"
    }
    for limit in ("0", "-1", "nan", "inf", "soon"):
        chat(engine, "go", *options, limit).refuses("--tool-timeout")


def test_a_tool_named_all_is_one_tool():
    """ "Always" for it allows no other; only --allow-tool all does."""
    ran: list[str] = []

    def tool(name: str) -> Tool:
        function = {"name": name, "description": name, "parameters": {"type": "object"}}
        return Tool(name, {"type": "function", "function": function}, lambda arguments: ran.append(name))

    for allowed, carried_out in (([], ["all", "all"]), (["all"], ["all", "rm", "all"])):
        ran.clear()
        asked: list[str] = []

        def answer(call: ToolCall, asked: list[str] = asked) -> Permission:
            asked.append(call.name)
            return "always" if call.name == "all" else "no"

        desk = ToolRunner(toolbox([tool("all"), tool("rm")], allowed), answer, lambda call, response: None, 100)
        for name in ("all", "rm", "all"):
            desk.answer(ToolCall(name, {}))
        assert (ran, asked) == (carried_out, ["all", "rm"] if not allowed else [])


def test_ctrl_c_cancels_a_call_and_those_after_it():
    """One that is allowed for good is not carried out either: whoever presses it wants no more of this."""
    ran: list[str] = []

    def run(arguments: Mapping[str, Any]) -> str:
        ran.append(arguments["text"])
        if arguments["text"] == "stop":
            raise KeyboardInterrupt
        return "done"

    function = {"name": "say", "description": "Say.", "parameters": {"type": "object"}}
    box = toolbox([Tool("say", {"type": "function", "function": function}, run)], ["all"])
    desk = ToolRunner(box, lambda call: "no", lambda call, response: None, 100)
    calls = [ToolCall("say", {"text": text}) for text in ("go", "stop", "go on")]
    assert [response.response for response in desk.answers(calls)] == [
        "done",
        {"error": "the user cancelled the call"},
        {"error": "the tool was not run, because the user cancelled an earlier call"},
    ]
    assert ran == ["go", "stop"]


def test_calls_over_several_rounds_and_several_at_once(chat: Chat):
    twice = "First. <|tool_call>call:add{a:1,b:1}<tool_call|><|tool_call>call:add{a:2,b:2}<tool_call|><|tool_response>"
    engine = RawEngine([twice, CALL, "Last."])
    outcome = chat(engine, "add", "--tool", ADD, "--allow-tool", "all")
    assert outcome.out == "First. \nLast.\n"
    assert [[r.response for r in m.tool_responses] for m in engine.requests[-1].messages if m.role == "tool"] == [
        [2, 4],
        [5],
    ]


def test_a_model_that_only_ever_calls_is_stopped(chat: Chat):
    outcome = chat(RawEngine([CALL]), "add", "--tool", ADD, "--allow-tool", "all", "--quiet")
    outcome.refuses("called tools 8 times in a row", code=1)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("call:add{a:1}", "the arguments have the wrong type: b: Missing required argument"),
        ("call:sub{a:1,b:2}", "unknown tool sub; the tools are add"),
    ],
)
def test_a_call_that_cannot_be_carried_out_is_answered(chat: Chat, call: str, answer: str):
    engine = RawEngine([f"<|tool_call>{call}<tool_call|><|tool_response>", "I see."])
    outcome = chat(engine, "add", "--tool", ADD, "--allow-tool", "all")
    assert (outcome.code, outcome.out) == (0, "I see.\n")
    assert f"failed: {answer}" in outcome.err
    assert engine.requests[-1].messages[-1].tool_responses[0].response == {"error": answer}


UNREADABLE = ["call:add{a:1", "add(1, 2)", "call:{}", "", 'call:add{a:<|"|>x,b:2}', "call:add{a:1,,b:2}"]


@pytest.mark.parametrize("call", UNREADABLE)
def test_an_unreadable_call_is_never_shown_and_the_model_may_write_it_again(chat: Chat, call: str):
    engine = RawEngine([f"Well: <|tool_call>{call}<tool_call|><|tool_response>", CALL, "Five."])
    outcome = chat(engine, "add", "--tool", ADD, "--allow-tool", "all")
    assert (outcome.code, outcome.out) == (0, "Well: \nFive.\n")
    assert outcome.err.splitlines()[1:] == ["gemma: calls add(a=2, b=3)", "gemma: add: 5"]
    refused = outcome.err.splitlines()[0]
    name = "add" if call.startswith("call:add") else "unknown"
    assert refused.startswith(f"gemma: {name} failed: the tool call could not be read (")
    (response,) = engine.requests[1].messages[-1].tool_responses
    assert response.name == name
    assert set(response.response) == {"error"}
    assert refused.endswith(response.response["error"])


def test_the_model_reads_in_its_own_format_that_its_call_was_unreadable(chat: Chat, pocket: Engine):
    engine = RawEngine(["<|tool_call>call:add{a:1,,b:2}<tool_call|><|tool_response>", "I see."])
    chat(engine, "add", "--tool", ADD, "--allow-tool", "all")
    prompt = pocket.writer.write(engine.requests[1], pocket.towers.count)  # type: ignore[attr-defined]
    text = pocket.tokenizer.decode(list(prompt.ids))  # type: ignore[attr-defined]
    told = text.partition("<|tool_call>")[2]
    assert told.startswith(
        'call:add{}<tool_call|><|tool_response>response:add{error:<|"|>the tool call could not be read'
    )


def test_a_second_unreadable_call_ends_it_and_the_json_has_both(chat: Chat):
    engine = RawEngine(["<|tool_call>call:add{a:1<|tool_response>", "Well: <|tool_call>call:add{a:1,,b:2}<tool_call|>"])
    outcome = chat(engine, "add", "--tool", ADD, "--allow-tool", "all", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 1
    assert outcome.err.splitlines()[2:] == [
        "gemma: the tool call of the model could not be read: ask again, or use other words"
    ]
    assert (found["text"], found["tool_calls"]) == ("Well: ", None)
    assert [call["name"] for call in found["unreadable_tool_calls"]] == ["add", "add"]
    assert found["unreadable_tool_calls"][1]["text"] == "call:add{a:1,,b:2}"
    assert len(engine.requests) == 2


def test_readable_calls_beside_an_unreadable_one_are_carried_out(chat: Chat):
    both = "<|tool_call>call:add{a:,b:1}<tool_call|><|tool_call>call:add{a:2,b:3}<tool_call|><|tool_response>"
    engine = RawEngine([both, both, CALL, "Done."])
    outcome = chat(engine, "add", "--tool", ADD, "--allow-tool", "all", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert [call["response"] for call in found["tool_calls"]] == [5, 5, 5]
    assert [call["reason"] for call in found["unreadable_tool_calls"]] == ["the call lacks a value"] * 2
    told = [[answer.response for answer in m.tool_responses] for m in engine.requests[-1].messages if m.role == "tool"]
    assert [(answers[0], len(answers)) for answers in told] == [(5, 2), (5, 2), (5, 1)]


def test_events_have_an_unreadable_call(chat: Chat):
    engine = RawEngine(["<|tool_call>call:add{a:,b:1}<tool_call|><|tool_response>", "Done."])
    outcome = chat(engine, "add", "--tool", ADD, "--allow-tool", "all", "--stream-json")
    events = [json.loads(line) for line in outcome.out.splitlines()]
    assert [event["type"] for event in events] == ["start", "unreadable_tool_call", "tool_response", "delta", "done"]
    assert {**events[1], "reason": ""} == {
        "type": "unreadable_tool_call", "name": "add", "text": "call:add{a:,b:1}", "reason": "",
    }  # fmt: skip


def test_an_unreadable_call_without_any_tools_is_told(chat: Chat):
    engine = RawEngine(["Well: <|tool_call>call:add{a:,b:1}<tool_call|>"])
    outcome = chat(engine, "add", "--json")
    assert (outcome.code, outcome.err.count("\n"), len(engine.requests)) == (0, 1, 1)
    assert "could not be read" in outcome.err
    assert json.loads(outcome.out)["unreadable_tool_calls"][0]["name"] == "add"


def test_what_the_tool_declares_helps_to_read_a_call(chat: Chat, tmp_path: Path):
    """Without its declaration the text of this call could end in two places."""
    (tmp_path / "game.py").write_text(
        'def turn(command: str, angle: int) -> str:\n    """Turn.\n\n    Args:\n        command: How.\n'
        '        angle: Degrees.\n    """\n    return command\n'
    )
    engine = RawEngine(['<|tool_call>call:turn{command:<|"|>left,angle:90}<tool_call|><|tool_response>', "Done."])
    outcome = chat(engine, "go", "--tool", f"{tmp_path / 'game.py'}:turn", "--allow-tool", "all")
    assert outcome.err.startswith('gemma: calls turn(command="left", angle=90)\n')


def test_a_call_without_any_tools_is_told_and_not_answered(chat: Chat):
    engine = RawEngine([CALL])
    assert "add failed: this chat has no tools" in chat(engine, "add").err
    assert len(engine.requests) == 1


def test_no_call_and_no_answer_can_drive_the_terminal_or_hide_in_it(chat: Chat, tmp_path: Path):
    (tmp_path / "evil.py").write_text(
        'def say(a: str) -> str:\n    """Say.\n\n    Args:\n        a: What.\n    """\n'
        '    return "\\x1b[2J\\u202e\\x9b31m" + a\n'
    )
    call = '<|tool_call>call:say{a:<|"|>\x1b]0;x\x07\u202e\u200b<|"|>}<tool_call|><|tool_response>'
    engine = RawEngine([call, "done"])
    outcome = chat(engine, "say", "--tool", f"{tmp_path / 'evil.py'}:say", "--allow-tool", "say", "--session", "evil")
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\u200b"} & set(outcome.out + outcome.err)
    assert r"\u001b]0;x\u0007\u202e\u200b" in outcome.err, "what is asked about is shown whole"
    assert engine.requests[-1].messages[-1].tool_responses[0].response.startswith("\x1b[2J"), (
        "the model reads it as it is"
    )


def test_an_answer_longer_than_the_model_has_room_for_is_cut_and_says_so(chat: Chat, tmp_path: Path):
    (tmp_path / "long.py").write_text('def much() -> list:\n    """Much."""\n    return ["x" * 100] * 1000\n')
    engine = RawEngine(["<|tool_call>call:much{}<tool_call|><|tool_response>", "done"])
    assert chat(engine, "go", "--tool", f"{tmp_path / 'long.py'}:much", "--allow-tool", "much").code == 0
    answer = engine.requests[-1].messages[-1].tool_responses[0].response
    assert answer.endswith("[cut off after 6144 of 104000 characters]")


def test_thoughts_stay_between_calls_and_go_afterwards(chat: Chat):
    engine = RawEngine(
        [f"<|channel>thought\nI add.<channel|>{CALL}", "<|channel>thought\nDone.<channel|>Five.", "Six."]
    )
    arguments = ("--tool", ADD, "--allow-tool", "all", "--think", "--session", "sums")
    chat(engine, "add", *arguments)
    chat(engine, "again", *arguments)
    during, after = engine.requests[1].messages, engine.requests[2].messages
    assert [message.thinking for message in during] == ["", "I add.", ""]
    assert not any(message.thinking for message in after)
    assert (after[1].tool_calls, after[2].tool_responses) == (
        (ToolCall("add", {"a": 2, "b": 3}),),
        (ToolResponse("add", 5),),
    )
