"""A chat over the scripted engine, line by line, without a terminal: what is asked, kept, told and taken back."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.errors import InputError, ModelError, UsageError
from gemma_cli.core.events import Delta, Event
from gemma_cli.core.messages import Audio, Drafting, Image, Part, Request, Sampling, Text
from gemma_cli.engines.scripted import INFO, Reply, ScriptedEngine
from gemma_cli.repl.chat import Chat, ChatHost
from gemma_cli.repl.loop import act, run
from gemma_cli.repl.settings import Settings
from gemma_cli.repl.slash.commands import TABLE
from gemma_cli.store.locks import SessionLock
from gemma_cli.store.sessions import SessionStore

REPLIES = [Reply("first", thinking="hm"), Reply("second"), Reply("third")]


class World:
    """The two streams of a chat."""

    def __init__(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()

    def said(self) -> str:
        text = self.err.getvalue()
        self.err.seek(0)
        self.err.truncate()
        return text


def read(path: str, kind: str | None) -> Part:
    if "gone" in path:
        raise InputError(f"{path}: no such file")
    if kind == "text" or path.endswith(".txt"):
        return Text(f"{path}:\nbuy milk\n\n")
    if kind == "audio":
        return Audio(path, path, np.zeros(16_000, np.float32))
    return Image(path, path, np.zeros((2, 2, 3), np.uint8))


def chat(
    world: World | None = None,
    store: SessionStore | None = None,
    modalities: set[str] | None = None,
    context: int = 8192,
    replies: list[Reply] = REPLIES,
) -> Chat:
    world = world or World()
    info = replace(INFO, context=context, modalities=frozenset(modalities or INFO.modalities))
    engine = ScriptedEngine(replies, info=info)

    def open_model(name: str) -> ScriptedEngine:
        if name == "gone":
            raise ModelError("gone: no such model")
        return ScriptedEngine([Reply(f"I am {name}")], info=replace(INFO, model=name, modalities=frozenset({"image"})))

    return Chat(
        engine,
        Settings(Sampling(seed=5), Drafting()),
        Console(file=world.out, width=100),
        Console(file=world.err, width=100),
        ChatHost(read, open_model, lambda: ["e2b", "e4b"]),
        store=store,
        session=store.new() if store else None,
    )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def store(tmp_path: Path) -> SessionStore:
    return SessionStore.open(tmp_path / "s.db")


def texts(conversation: Conversation) -> list[str]:
    return [entry.message.text for entry in conversation.entries]


def test_a_message_is_sent_answered_and_kept(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "hello")
    act(talk, "and?")
    assert world.out.getvalue() == "first\n\nsecond\n\n"
    assert texts(store.load("hello")[1]) == ["hello", "first", "and?", "second"]
    assert [m.text for m in talk.engine.requests[1].messages] == ["hello", "first", "and?"]


def test_an_empty_line_asks_nothing(world: World):
    talk = chat(world)
    act(talk, "   ")
    assert talk.engine.requests == []


def test_several_attachments_go_with_the_next_text(world: World):
    talk = chat(world)
    act(talk, "/image a.png b\\ c.png")
    act(talk, "/audio d.wav")
    act(talk, "/read notes.md")
    assert "attached to the next message: a.png, b c.png, d.wav, notes.md" in world.said()
    act(talk, "/drop 1")
    act(talk, "what?")
    kinds = [type(part).__name__ for part in talk.engine.requests[0].messages[0].parts]
    assert kinds == ["Image", "Text", "Text", "Audio"]
    assert talk.staged() == []
    act(talk, "/drop 3")
    assert "does not exist; attached: nothing" in world.said()


def test_an_attachment_alone_is_a_message(world: World):
    talk = chat(world)
    act(talk, "/image a.png")
    act(talk, "")
    assert len(talk.engine.requests[0].messages[0].parts) == 1


def test_what_the_model_does_not_take_is_refused(world: World):
    talk = chat(world, modalities={"image"})
    act(talk, "/audio a.wav")
    assert "a.wav: scripted accepts no audio, only text, image" in world.said()
    act(talk, "/image gone.png")
    assert "gone.png: no such file" in world.said()
    assert talk.staged() == []


def test_retry_asks_again_with_the_next_seed(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "hello")
    act(talk, "/retry")
    assert [request.sampling.seed for request in talk.engine.requests] == [5, 6]
    assert texts(talk.conversation) == ["hello", "second"]
    assert texts(store.load("hello")[1]) == ["hello", "second"]
    act(talk, "/set temperature 0")
    act(talk, "/retry")
    assert "will be the same" in world.said()


def test_undo_and_edit(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "one")
    act(talk, "/image a.png")
    act(talk, "two")
    act(talk, "/edit")
    assert talk.draft == "two"
    assert talk.staged() == ["a.png"]
    assert texts(talk.conversation) == ["one", "first"]
    act(talk, "/undo")
    assert texts(talk.conversation) == []
    act(talk, "/undo")
    assert "the chat has no messages yet" in world.said()


def test_thoughts_are_folded_in_full_or_hidden(world: World):
    talk = chat(world, replies=[Reply("answer", thinking="deep")])
    act(talk, "/think on")
    for thoughts in ("folded", "full", "hidden"):
        talk.settings = replace(talk.settings, thoughts=thoughts)
        act(talk, "hello")
    shown = world.out.getvalue().split("answer\n\n")
    assert "thought for" in shown[0]
    assert "deep" not in shown[0]
    assert "│ deep" in shown[1]
    assert shown[2] == ""
    assert talk.thoughts == ["deep"] * 3
    assert all(not message.thinking for message in talk.engine.requests[-1].messages)


def test_the_oldest_turns_are_left_out_with_a_word(world: World):
    talk = chat(world, context=400)
    talk.settings = replace(talk.settings, sampling=Sampling(max_tokens=50))
    talk.conversation = Conversation()
    for number in range(8):
        act(talk, f"message {number} " + "x " * 60)
    notice = world.said()
    assert "no longer sent to the model" in notice
    assert "message 0" in notice
    assert len(talk.engine.requests[-1].messages) < len(talk.conversation.entries)
    act(talk, "x" * 1100)
    assert "the message is too long: about" in world.said()
    assert talk.draft == "x" * 1100


class Broken(ScriptedEngine):
    def stream(self, request: Request) -> Iterator[Event]:  # type: ignore[override]
        yield Delta("answer", "half")
        raise ModelError("out of breath")


def test_an_error_puts_the_message_back_on_the_line(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "hello")
    talk.engine = Broken(REPLIES)
    act(talk, "more")
    assert "out of breath" in world.said()
    assert talk.draft == "more"
    assert texts(talk.conversation) == texts(store.load("hello")[1]) == ["hello", "first"]


class Interrupted(ScriptedEngine):
    """Ctrl-C after so many characters."""

    after = 0

    def stream(self, request: Request) -> Iterator[Event]:  # type: ignore[override]
        yield from (Delta("answer", "x") for _ in range(self.after))
        raise KeyboardInterrupt


def test_a_reply_cut_off_is_kept_and_marked(world: World, store: SessionStore):
    talk = chat(world, store)
    talk.engine = Interrupted(REPLIES)
    talk.engine.after = 3
    act(talk, "hello")
    entry = store.load("hello")[1].entries[-1]
    assert (entry.message.text, entry.finish_reason) == ("xxx", "interrupted")
    assert "[cut off]" in world.out.getvalue()


def test_one_cut_off_before_its_first_word_leaves_no_trace(world: World, store: SessionStore):
    talk = chat(world, store)
    talk.engine = Interrupted(REPLIES)
    act(talk, "hello")
    assert talk.draft == "hello"
    assert talk.conversation.entries == ()
    assert store.list() == []


def test_another_model_takes_over_or_the_old_one_stays(world: World):
    talk = chat(world)
    act(talk, "hello")
    act(talk, "/model gone")
    assert talk.engine.info.model == "scripted"
    act(talk, "/model e2b")
    act(talk, "who?")
    assert world.out.getvalue().endswith("I am e2b\n\n")
    assert talk.conversation.entries[-1].model == "e2b"


def test_a_history_the_model_cannot_take_is_refused(world: World):
    talk = chat(world)
    act(talk, "/audio a.wav")
    act(talk, "listen")
    act(talk, "/model e2b")
    act(talk, "again")
    assert "this chat contains audio, which e2b does not accept" in world.said()


def test_sessions_are_named_listed_loaded_and_begun_anew(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "/save")
    assert "no messages to save" in world.said()
    act(talk, "hello")
    act(talk, "/save greetings")
    act(talk, "/new")
    act(talk, "bye")
    act(talk, "/sessions")
    assert [line.split()[0] for line in world.said().splitlines()[-2:]] == ["bye", "greetings"]
    act(talk, "/load greetings")
    act(talk, "once more")
    assert texts(store.load("greetings")[1]) == ["hello", "first", "once more", "third"]
    act(talk, "/load greeting")
    assert "did you mean 'greetings'" in world.said()


def test_two_chats_on_one_session_are_told(world: World, store: SessionStore):
    mine, yours = chat(world, store), chat(world, store)
    act(mine, "hello")
    act(yours, "/load hello")
    act(mine, "mine")
    act(yours, "yours")
    assert "another process changed the chat 'hello', so this chat continues under the name 'hello-2'" in world.said()


def test_a_chat_that_cannot_be_saved_goes_on_and_says_so_once(world: World, store: SessionStore):
    talk = chat(world, store)
    store._db.execute("PRAGMA max_page_count = 1")
    act(talk, "hello " + "x" * 20_000)
    act(talk, "again")
    assert world.out.getvalue() == "first\n\nsecond\n\n"
    assert world.said().count("the chat can continue, but is not saved") == 1
    store._db.execute("PRAGMA max_page_count = 100000")
    act(talk, "and again")
    assert "saved again" in world.said()
    assert len(store.load(talk.session.name)[1].entries) == 6


def test_a_chat_that_is_not_kept_says_so(world: World):
    act(chat(world), "/sessions")
    assert "not saved" in world.said()


def test_export_writes_and_never_overwrites(world: World, store: SessionStore, tmp_path: Path):
    talk = chat(world, store)
    act(talk, "hello")
    act(talk, f"/export {tmp_path}/chat.json")
    assert [m["text"] for m in json.loads((tmp_path / "chat.json").read_text())["messages"]] == ["hello", "first"]
    act(talk, f"/export {tmp_path}/chat.json")
    assert "exists: choose another name" in world.said()
    act(talk, f"/export {tmp_path}/no/chat.md")
    assert "No such file" in world.said()


def test_copy_writes_osc_52_and_only_when_asked(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSH_TTY", "/dev/pts/1")  # no desktop to copy to
    talk = chat(world)
    act(talk, "hello")
    assert "\x1b]" not in world.out.getvalue() + world.err.getvalue()
    act(talk, "/copy")
    assert "nothing was copied" in world.said()
    monkeypatch.setattr(world.err, "isatty", lambda: True)
    act(talk, "/copy")
    assert "\x1b]52;c;Zmlyc3Q=\x07" in world.said()


def test_stats_and_tokens(world: World):
    talk = chat(world)
    act(talk, "/stats")
    assert "no reply yet" in world.said()
    act(talk, "hello you")
    act(talk, "/stats")
    assert "2 tokens read, 1 written" in world.said()
    act(talk, "/tokens")
    assert "3 of 8,192 tokens (0%), counted" in world.said()


def test_help_lists_what_there_is_and_unknown_commands_are_met_with_the_nearest(world: World):
    talk = chat(world, modalities={"image"})
    act(talk, "/help")
    said = world.said()
    assert all(f"/{name}" in said for name in TABLE if name not in ("audio", "video"))
    assert "/video" not in said
    act(talk, "/hlep")
    assert "did you mean /help?" in world.said()
    act(talk, "/help retry")
    assert world.said().startswith("/retry")


def test_a_reply_that_reached_its_limit_says_how_to_get_more(world: World):
    talk = chat(world, replies=[Reply("one two three")])
    act(talk, "/set max-tokens 2")
    act(talk, "hello")
    assert "for longer replies, type /set max-tokens 4" in world.said()


def test_thinking_makes_room_for_thoughts(world: World):
    talk = chat(world)
    act(talk, "/think on")
    assert (talk.settings.thinking, talk.settings.sampling.max_tokens) == (True, 4096)
    act(talk, "/think maybe")
    assert ": give on, off or auto" in world.said()


def test_think_auto_goes_back_to_how_the_chat_began(world: World):
    talk = chat(world)
    act(talk, "/think on")
    act(talk, "/think auto")
    assert not talk.settings.thinking
    assert "thinking is off" in world.said()


def test_system_prompt(world: World):
    talk = chat(world)
    act(talk, "/system be kind")
    act(talk, "hello")
    assert talk.engine.requests[0].messages[0].text == "be kind"
    act(talk, "/system off")
    assert "no system prompt" in world.said()


def test_clear_forgets_what_was_said_and_keeps_it_on_disk(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "hello")
    act(talk, "/clear")
    act(talk, "again")
    assert [message.text for message in talk.engine.requests[-1].messages] == ["again"]
    assert {summary.name for summary in store.list()} == {"hello", "again"}


def test_exit_leaves(world: World):
    talk = chat(world)
    act(talk, "/exit")
    assert talk.leaving


@pytest.mark.parametrize(
    "line",
    [f"/{name} \x1b[2J" for name in TABLE] + ["/\x1b[2J", "/set \x9b31m 1", "/image \x1b]0;x\x07"],
)
def test_no_typed_or_named_thing_can_drive_the_terminal(world: World, line: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    talk = chat(world, SessionStore.open(tmp_path / "s.db"))
    act(talk, "hello")
    act(talk, line)
    assert not {"\x1b", "\x9b", "\x07"} & set(world.err.getvalue() + world.out.getvalue())


def test_a_full_context_is_summarized_where_asked(world: World, store: SessionStore):
    replies = [Reply("one"), Reply("two"), Reply("They said\x1b[2J little."), Reply("three")]
    talk = chat(world, store, context=128, replies=replies)
    act(talk, "/compact auto")
    for text in ("first " * 25, "second " * 25, "third " * 25):
        act(talk, text)
    said = world.said()
    assert "the model wrote this summary, which replaces all earlier messages:\nThey said^[[2J little." in said
    assert "\x1b[2J" not in said
    assert talk.engine.requests[-1].messages[0].text.endswith("in short:\nThey said\x1b[2J little.")
    assert "first" not in "".join(message.text for message in talk.engine.requests[-1].messages)
    loaded = store.load(talk.session.name)[1]
    assert loaded.summary == talk.conversation.summary == "They said\x1b[2J little."
    assert texts(loaded)[0].startswith("first first")


def test_compact_goes_on_from_a_summary(world: World, store: SessionStore, tmp_path: Path):
    talk = chat(world, store, replies=[Reply("one"), Reply("A greeting."), Reply("two")])
    act(talk, "/compact")
    assert "no messages to summarize yet" in world.said()
    act(talk, "hello")
    act(talk, "/compact")
    assert "replaces all earlier messages:\nA greeting.\n" in world.said()
    act(talk, "and?")
    assert [m.text for m in talk.engine.requests[-1].messages] == [
        *("What was said before, in short:\nA greeting.", "and?"),
    ]
    act(talk, f"/export {tmp_path / 'chat.md'}")
    assert "## Summary of earlier messages\n\nA greeting." in (tmp_path / "chat.md").read_text()
    act(talk, "/tokens")
    assert "the oldest 2 messages are no longer sent" in world.said()
    act(talk, "/compact now")
    assert "auto, off or nothing" in world.said()


def test_a_budget_of_thoughts_is_set_in_the_middle_of_a_chat(world: World):
    talk = chat(world)
    for line in ("one", "/set thinking-budget 40", "two", "/set thinking-budget 0", "three"):
        act(talk, line)
    assert [request.thinking_budget for request in talk.engine.requests] == [None, 40, None]


def test_a_chat_whose_database_is_deleted_is_saved_anew_and_the_user_is_told(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "hello")
    store.path.unlink()
    world.said()
    act(talk, "and?")
    assert world.said() == f"{store.path} was deleted or replaced, so this chat is saved again as 'hello'\n"
    assert texts(SessionStore.open(store.path).load("hello")[1]) == ["hello", "first", "and?", "second"]


def test_a_database_deleted_after_the_last_message_is_made_up_for_when_the_chat_ends(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "hello")
    store.path.unlink()
    world.said()
    run(talk, NobodyTypes())
    assert "saved again as 'hello'" in world.said()
    assert texts(SessionStore.open(store.path).load("hello")[1]) == ["hello", "first"]


class NobodyTypes:
    """An editor at which the user leaves at once."""

    def read(self) -> None:
        return None

    def leave(self) -> str:
        return "no"


@pytest.mark.parametrize("command", ["/load hello", "/new fresh"])
def test_a_chat_that_another_has_open_is_told_when_it_is_loaded_or_begun(
    world: World, store: SessionStore, monkeypatch: pytest.MonkeyPatch, command: str
):
    talk = chat(world, store)
    act(talk, "hello")
    monkeypatch.setattr(
        SessionLock, "hold", lambda holds, name: False
    )  # tests/store/test_database.py has two processes
    act(talk, command)
    name = command.split()[1]
    assert world.said().startswith(f"another process has the chat '{name}' open too: ")


def test_the_history_lists_this_chat_and_searches_all(world: World, store: SessionStore):
    talk = chat(world, store)
    act(talk, "/history")
    assert world.said() == "nothing yet\n"
    act(talk, "about tomatoes")
    act(talk, "/history")
    assert world.said().splitlines()[-2:] == ["1  user: about tomatoes", "2  assistant: first"]
    act(talk, "/new")
    act(talk, "something else")
    world.said()
    act(talk, '/history "about TOMATOES"')
    assert [line.split("  ")[0] for line in world.said().splitlines()] == ["about-tomatoes", "/load NAME continues one"]
    act(talk, "/history potatoes")
    assert world.said() == "no saved chat contains potatoes\n"
    with pytest.raises(UsageError, match="not saved"):
        TABLE["history"].action(chat(world), "words")


def test_a_terminal_breaks_notices_between_words():
    world = World()
    talk = chat(world)
    notice = "one-word " * 12 + "x" * 45
    for terminal in (False, True):
        talk.err = Console(file=world.err, width=40, force_terminal=terminal, no_color=True, color_system=None)
        talk.tell(notice)
        lines = world.said().splitlines()
        if terminal:
            assert max(map(len, lines)) <= 40
            assert [word for line in lines[:-2] for word in line.split()] == ["one-word"] * 12
            assert "".join(lines[-2:]) == "x" * 45
        else:
            assert lines == [notice]
