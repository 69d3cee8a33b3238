"""`gemma chat --receipt`: the answer of a receipt again, or what differs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_cli.cli import run
from gemma_cli.common import opening
from gemma_cli.common.receipts import prompt_hash
from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.core.messages import Drafting
from gemma_cli.engines import open_engine
from gemma_cli.serve.api.chat_request import Defaults, chat_request
from gemma_cli.serve.api.fields import ChatBody, validated
from tests.cli.helpers.command import Outcome

PROMPT = "What is 3 + 4?"

Chat = Callable[..., Outcome]


@pytest.fixture(scope="module")
def pocket() -> Engine:
    return open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))


@pytest.fixture
def chat(pocket: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Chat:
    """`gemma chat ARGUMENTS` in tmp_path, with nothing piped in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEMMA_MODEL", raising=False)
    monkeypatch.setattr(opening, "open_engine", lambda spec: pocket)

    def command(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
        capsys.readouterr()
        code = run(["chat", *arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return command


def test_an_answer_is_given_again(chat: Chat, tmp_path: Path) -> None:
    drawn = ("--think", "--thinking-budget", "40", "--temperature", "1.5", "--top-k", "9", "--model", "pocket")
    answer = json.loads(chat(PROMPT, *drawn, "--json").out)
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    again = chat(PROMPT, "--receipt", "answer.json")
    assert (again.code, again.out.rstrip("\n")) == (0, answer["text"].rstrip("\n"))
    assert again.err.endswith("gemma: the text is the same as in answer.json\n")
    assert json.loads(chat(PROMPT, "--receipt", "answer.json", "--json").out)["receipt"] | {"speculation": None} == (
        answer["receipt"] | {"speculation": None}
    )


def test_what_differs_is_named(chat: Chat, tmp_path: Path) -> None:
    receipt = json.loads(chat(PROMPT, "--seed", "1", "--json").out)["receipt"]

    def changed(**fields: Any) -> str:
        (tmp_path / "r.json").write_text(json.dumps({"gemma": receipt | fields}))
        return "r.json"

    # Another machine that gives the same text is as good as this one.
    assert chat(PROMPT, "--receipt", changed(dtype="bfloat16", model_sha256="0" * 64)).code == 0
    other = chat(PROMPT, "--receipt", changed(dtype="bfloat16", model_sha256="0" * 64, text_sha256="1" * 64))
    assert other.code == 1
    assert other.out
    assert "the text differs from r.json: model_sha256 000000000000… is " in other.err
    assert "dtype bfloat16 is float32 here" in other.err
    assert "please report it" in chat(PROMPT, "--receipt", changed(text_sha256="1" * 64)).err
    chat("What is 3 + 5?", "--receipt", changed()).refuses("r.json", "another prompt")
    chat(PROMPT, "--system", "Be brief.", "--receipt", changed()).refuses("r.json", "another prompt")
    chat(PROMPT, "--seed", "1", "--receipt", changed()).refuses("--receipt", "--seed")
    chat(PROMPT, "--receipt", changed(stop=["x"])).refuses("r.json", "stop sequence")
    for fields in ({"seed": "1"}, {"sampling": {"heat": 1}}, {"sampling": None}, {"text_sha256": 1}):
        chat(PROMPT, "--receipt", changed(**fields)).refuses("r.json", "the file has no receipt")
    (tmp_path / "r.json").write_text("[1")
    chat(PROMPT, "--receipt", "r.json").refuses("r.json", "the file has no receipt")


def test_a_servers_prompt_is_the_command_lines(chat: Chat) -> None:
    receipt = json.loads(chat(PROMPT, "--seed", "1", "--system", "Be brief.", "--json").out)["receipt"]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    request = chat_request(validated(ChatBody, {"messages": messages, "seed": 1}), Defaults(Drafting()))
    assert prompt_hash(request) == receipt["prompt_sha256"]
