"""One door for all backends: the scheme of a model's name chooses, and a new backend is one module and one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_cli import engines
from gemma_cli.cli import run
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.events import collect
from gemma_cli.core.messages import Request, ask
from gemma_cli.engines import model_name, open_engine
from gemma_cli.engines.scripted import Reply, read_replies

BACKEND = """
from gemma_cli.engines.scripted import Reply, ScriptedEngine

def model_name(spec):
    return spec.model

def foretell(spec):
    return f"{spec.model}, out of thin air"

def open_engine(spec):
    return ScriptedEngine([Reply(f"I am {spec.model}.")])
"""


@pytest.fixture(autouse=True)
def nothing_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "replies.jsonl"
    replies = [{"text": "One."}, {"text": "Two: a b.", "thinking": "Hm."}]
    path.write_text("\n".join(map(json.dumps, replies)), encoding="utf-8")
    return path


@pytest.mark.parametrize("where", ["option", "environment", "configuration"])
def test_a_script_answers_wherever_it_was_named(
    script: Path, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GEMMA_MODEL", raising=False)
    name = f"scripted:{script}"
    if where == "environment":
        monkeypatch.setenv("GEMMA_MODEL", name)
    if where == "configuration":
        (tmp_path / "config" / "gemma-cli").mkdir(parents=True)
        (tmp_path / "config" / "gemma-cli" / "config.toml").write_text(f"model = {json.dumps(name)}")
    option = ["--model", name] if where == "option" else []
    assert run(["chat", "Hello", "--json", *option]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["text"]) == (name, "One.")


def test_the_door_and_a_script_need_no_torch(script: Path) -> None:
    code = (
        "import sys\nfrom gemma_cli.core.engine import EngineSpec\nfrom gemma_cli.engines import *\n"
        "from gemma_cli.engines import open_engine, model_name, foretell\n"
        f"open_engine(EngineSpec('scripted:{script}')); model_name(EngineSpec('pocket'))\n"
        f"print(foretell(EngineSpec('scripted:{script}')), 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"scripted:{script}, 2 replies in turn False"


def test_a_backend_is_one_module_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out_of_thin_air.py").write_text(BACKEND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(engines.BACKENDS, "air", "out_of_thin_air")
    assert model_name(EngineSpec("air:42")) == "air:42"
    assert run(["chat", "Hello", "--model", "air:42"]) == 0
    assert capsys.readouterr().out == "I am air:42.\n"


@pytest.mark.parametrize("name", ["C:\\models\\mine", "nosuch:thing", ":", "e9b"])
def test_a_name_without_a_known_scheme_is_a_checkpoint(name: str) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        model_name(EngineSpec(name))


def test_thoughts_are_replayed_where_they_are_asked_for(script: Path) -> None:
    engine = open_engine(EngineSpec(f"scripted:{script}"))
    collect(engine.stream(Request(ask("?"))))
    turn = collect(engine.stream(Request(ask("?"), thinking=True)))
    assert (turn.thinking, turn.text) == ("Hm.", "Two: a b.")
    assert read_replies(script) == (Reply("One."), Reply("Two: a b.", "Hm."))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n \n", b"not JSON", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000),
        *(b'{"text": 1}', b'{"thinking": "x"}', b'{"text": "a", "b": 1}', b'{"text": "a", "thinking": null}'),
    ],
)
def test_a_bad_script_is_one_line(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_replies(path)
    assert run(["chat", "Hello", "--model", f"scripted:{path}"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(path) in told
    assert "text" in told


@pytest.mark.parametrize("name", ["missing.jsonl", ".", ""])
def test_what_is_not_a_file_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chat", "Hello", "--model", f"scripted:{tmp_path / name if name else ''}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
