"""Messages that mention files, lines that were pasted, names that mean nothing: what is attached, run and put back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_repl_chat import REPLIES, Broken, World, chat

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.messages import Text
from gemma_cli.engines import open_engine
from gemma_cli.repl.loop import act


@pytest.fixture
def world() -> World:
    return World()


def test_a_pasted_line_is_never_run_by_the_shell(world: World, tmp_path: Path):
    talk = chat(world)
    act(talk, f"!touch {tmp_path}/pasted; true", (f"!touch {tmp_path}/pasted",))
    assert not (tmp_path / "pasted").exists()
    assert talk.engine.requests[0].messages[0].text == f"!touch {tmp_path}/pasted; true"


def test_a_message_that_comes_back_is_not_a_command(world: World):
    talk = chat(world)
    talk.engine = Broken(REPLIES)
    for line in ("!!important", "//help me", "/usr/bin is a folder"):
        act(talk, line)
        assert talk.draft == line


def test_a_file_that_is_mentioned_is_attached_once_and_reported(world: World, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "notes.txt", "gone.png"):
        (tmp_path / name).touch()
    talk = chat(world)
    act(talk, "/image a.png")
    act(talk, "What is @a.png next to @notes.txt?")
    parts = talk.engine.requests[0].messages[0].parts
    assert [type(part).__name__ for part in parts] == ["Image", "Text", "Text"]
    assert parts[-1] == Text("What is a.png next to notes.txt?")
    assert "attached: notes.txt" in world.said()
    act(talk, "and gone.png?")  # what is damaged is no reason to refuse a message that did not ask for it
    assert "a file is not attached and its name is sent as plain text: gone.png" in world.said()
    assert talk.engine.requests[1].messages[-1].text == "and gone.png?"
    act(talk, "and @a.png, @gone.png?")
    assert "gone.png: no such file" in world.said()
    assert (talk.draft, talk.staged(), len(talk.engine.requests)) == ("and @a.png, @gone.png?", [], 2)


def test_a_model_that_does_not_exist_leaves_the_chat_with_its_own(world: World):
    talk = chat(world)
    talk.outside = replace(talk.outside, open_model=lambda name: open_engine(EngineSpec(model=name)))
    before = talk.engine
    act(talk, "/model synthetic:nope")
    assert "unknown synthetic model 'nope'; choose one of e2b, e4b, 12b, 26b-a4b, 31b" in world.said()
    assert talk.engine is before
    act(talk, "hello")
    assert world.out.getvalue() == "first\n\n"
