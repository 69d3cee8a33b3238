"""Which chat a command goes on with, and what happens where it cannot be saved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.events import Turn
from gemma_cli.repl.saved_chat import ChatSaver, SavedChat, kept
from gemma_cli.store import database
from gemma_cli.store.sessions import SessionStore


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "gemma-cli"


def said(text: str) -> Conversation:
    return Conversation().saying(text).hearing(Turn(text="yes", finish_reason="stop"), "pocket")


def block(state: Path) -> None:
    """Put a file where the folder would be: nobody can write there, root included."""
    state.write_text("in the way")


def test_a_chat_that_cannot_be_saved_costs_one_line_and_no_answer(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saving = ChatSaver(kept(go_on=False, name="work", save=True, begin=False))
    saving(said("a"))
    for pulled in range(2):
        for file in state.glob("*"):
            file.unlink()
        if not pulled:
            state.rmdir()
            block(state)
        saving(said("a"))
        saving(said("b"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"gemma: {state}/sessions.db: chats cannot be saved")
    assert lines[0].endswith("; this chat will not be saved")


@pytest.mark.parametrize(("name", "begin"), [("work", False), (None, True)])
def test_a_chat_begins_where_none_can_be_kept(
    state: Path, name: str | None, begin: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    block(state)
    begun = kept(go_on=False, name=name, save=True, begin=begin)
    assert begun == SavedChat()
    assert capsys.readouterr().err.count("\n") == 1
    ChatSaver(begun)(said("a"))
    assert capsys.readouterr().err == ""


def test_a_chat_is_not_begun_anew_where_the_old_one_cannot_be_read(state: Path) -> None:
    """An answer without what was said before would be another answer."""
    store = SessionStore.open(state / "sessions.db")
    store.new("work").save(said("a"))
    store.close()
    (state / "sessions.db").write_bytes(b"not a database" * 100)
    for going_on in ({"go_on": True, "name": None}, {"go_on": False, "name": "work"}):
        with pytest.raises(GemmaError, match="damaged"):
            kept(**going_on, save=True, begin=False)  # type: ignore[arg-type]
    os.truncate(state / "sessions.db", 0)
    with pytest.raises(InputError, match="no chat is saved yet"):
        kept(go_on=True, name=None, save=True, begin=False)


def test_a_name_that_is_none_is_refused_wherever_it_could_not_be_saved(state: Path) -> None:
    block(state)
    with pytest.raises(InputError, match="is not a valid name for a chat"):
        kept(go_on=False, name="a\x1b[2J", save=True, begin=False)


def test_what_is_said_in_a_chat_on_a_read_only_disk_goes_on_from_what_was_said(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SessionStore.open(state / "sessions.db")
    store.new("work").save(said("a"))
    store.close()

    def fails(path: str) -> None:
        raise database.sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(database, "connect", fails)
    for going_on in ({"go_on": True, "name": None}, {"go_on": False, "name": "work"}):
        found = kept(**going_on, save=True, begin=False)  # type: ignore[arg-type]
        assert [entry.message.text for entry in found.conversation.entries] == ["a", "yes"]
        saving = ChatSaver(found)
        saving(found.conversation.saying("b"))
        saving(found.conversation.saying("c"))
        assert capsys.readouterr().err.count("\n") == 1
