"""Chats are kept and gone on with: one answer at a time on pocket, and what `gemma sessions` does with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.helpers.command import Gemma


@pytest.fixture
def kept(gemma: Gemma, tmp_path: Path) -> dict[str, str]:
    """A state folder that holds one chat of one exchange, called counting."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    assert gemma("chat", "Count from 1 to 5.", "--session", "counting", "--temperature", "0", env=env).code == 0
    return env


def test_a_chat_is_gone_on_with_shown_exported_and_deleted(gemma: Gemma, kept: dict[str, str], tmp_path: Path) -> None:
    assert gemma("chat", "-c", "Count from 1 to 7.", "--temperature", "0", env=kept).code == 0
    shown = json.loads(gemma("sessions", "show", "counting", "--json", env=kept).out)
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"] * 2
    assert shown["messages"][0]["text"] == "Count from 1 to 5."
    assert shown["messages"][1]["text"].startswith("1, 2, 3, 4, 5")
    assert shown["messages"][2]["text"] == "Count from 1 to 7."
    assert "counting" in gemma("sessions", env=kept).out

    found = gemma("sessions", "search", "count", "7", env=kept).out.splitlines()
    assert [line.split("  ")[:2] for line in found] == [["counting", "3"]]
    matches = json.loads(gemma("sessions", "search", "count", "--json", "-n", "1", env=kept).out)["matches"]
    assert [match["session"] for match in matches] == ["counting"]
    gemma("sessions", "search", "tomatoes", env=kept).refuses(
        "no saved chat has a message that contains tomatoes", code=1
    )

    exported = tmp_path / "chat.md"
    assert gemma("sessions", "export", "counting", exported, env=kept).code == 0
    assert "Count from 1 to 7." in exported.read_text()
    gemma("sessions", "export", "counting", exported, env=kept).refuses("chat.md exists")

    gemma("sessions", "delete", "countin", env=kept).refuses("countin")
    assert gemma("sessions", "delete", "counting", env=kept).code == 0
    assert gemma("sessions", env=kept).out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("chat", "hello", "--continue"), ("no chat is saved yet",)),
        (("chat", "hello", "--continue", "--session", "x"), ("--continue", "--session")),
        (("chat", "hello", "--no-save", "--session", "x"), ("--no-save",)),
        (("chat", "hello", "--session", "a\x1b[2J"), ("is not a valid name for a chat",)),
        (("sessions", "show", "nobody"), ("no saved chat is named 'nobody'",)),
        (("sessions", "delete", "nobody"), ("no saved chat is named 'nobody'",)),
    ],
)
def test_what_is_not_there_is_told(
    gemma_here: Gemma, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str]
) -> None:
    gemma_here(*arguments, env={"XDG_STATE_HOME": str(tmp_path)}).refuses(*words)


def test_a_single_answer_is_not_kept_unless_it_belongs_to_a_chat(gemma: Gemma, tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    assert gemma("chat", "Hello", "--temperature", "0", env=env).code == 0
    assert list(tmp_path.rglob("*.db")) == []
