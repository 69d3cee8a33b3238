"""`gemma ... --engine URL` against our own server: the same texts as with the model loaded here."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_cli.cli import run
from tests.cli.helpers.command import SAMPLES, Outcome
from tests.serve.server import Server, chat, text_of

Gemma = Callable[..., Outcome]


@pytest.fixture
def gemma(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gemma:
    """Run a command line in docs/samples, with the server as its engine."""
    monkeypatch.chdir(SAMPLES)
    monkeypatch.setenv("GEMMA_ENGINE", server.url)
    monkeypatch.setenv("GEMMA_MODEL", "pocket")

    def command(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return command


def test_chat_says_what_the_server_says(server: Server, gemma: Gemma) -> None:
    with server.client() as client:
        text = text_of(client.post("/v1/chat/completions", json=chat("Count from 1 to 10.", seed=3)).json())
    assert gemma("chat", "Count from 1 to 10.", "--seed", "3", "--draft-tokens", "2") == Outcome(0, f"{text}\n", "")


def test_a_thought_is_limited_and_an_answer_is_held_to_a_schema(gemma: Gemma, tmp_path: Path) -> None:
    asked = ("chat", "What is 3 + 4?", "--think", "--seed", "1", "--json")
    short, whole = json.loads(gemma(*asked, "--thinking-budget", "8").out), json.loads(gemma(*asked).out)
    assert 0 < short["usage"]["thinking_tokens"] <= 8 < whole["usage"]["thinking_tokens"]
    (tmp_path / "schema.json").write_text('{"enum": ["red", "blue"]}')
    held = gemma("chat", "Pick.", "--seed", "1", "--schema", str(tmp_path / "schema.json"))
    assert json.loads(held.out) in ("red", "blue")


def test_sound_and_tools_go_through_it(gemma: Gemma) -> None:
    assert gemma("transcribe", "sentence.wav", "-q").out == "Anna buys 4 black balls.\n"
    added = gemma("chat", "What is 123 + 456?", "--tool", "tools.py:add", "--allow-tool", "add", "--seed", "0", "-q")
    assert (added.code, added.out) == (0, "123 + 456 = 579\n")
