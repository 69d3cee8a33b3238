"""What the sessions database promises: nothing that was saved is lost, nothing interleaves, nobody else can read it."""

import itertools
import json
import os
import random
import resource
import signal
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.conversation import Conversation, Entry, well_formed
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.events import Turn, Usage
from gemma_cli.core.messages import SAMPLE_RATE, Audio, Frame, Image, Message, Text, ToolCall, ToolResponse, Video
from gemma_cli.store.export import to_json, to_markdown, write
from gemma_cli.store.session_schema import MIGRATIONS
from gemma_cli.store.sessions import Session, SessionStore, name_for

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
PICTURE = Image("d1", "cat.png", PIXELS)
SOUND = Audio("d2", "hello.wav", np.linspace(-1, 1, SAMPLE_RATE, dtype=np.float32))
VIDEO = Video((Frame("d1", "cat.png", PIXELS), Frame("d3", "frame", PIXELS[:2])), (0.0, 1.5), "clip.mp4")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sessions.db"


def exchange(conversation: Conversation, text: str, thinking: str = "") -> Conversation:
    reply = Turn(text=f"re {text}", thinking=thinking, finish_reason="stop", usage=Usage(10, 5, 0))
    return conversation.saying(text).hearing(reply, "pocket")


def chat(*texts: str) -> Conversation:
    conversation = Conversation()
    for text in texts:
        conversation = exchange(conversation, text)
    return conversation


def stored(path: Path, name: str) -> list[str]:
    store = SessionStore.open(path)
    try:
        return [entry.message.text for entry in store.load(name)[1].entries]
    finally:
        store.close()


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a fork that never returns to pytest; its exit status is 0 unless it raised."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)


def statuses(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_everything_said_comes_back(path: Path):
    conversation = Conversation(system="be kind").staging(PICTURE).staging(SOUND).staging(VIDEO)
    conversation = exchange(conversation, "what is this?", thinking="let me see")
    call = Message("assistant", tool_calls=(ToolCall("look", {"up": "ü"}),))
    answer = Message("tool", tool_responses=(ToolResponse("look", [1, None]),))
    extra = (Entry(call, "tool_calls", "m", 3), Entry(answer))
    conversation = Conversation(conversation.system, conversation.entries + extra)
    store = SessionStore.open(path)
    store.new("work").save(conversation)
    store.close()

    session, loaded = SessionStore.open(path).load("work")
    assert loaded == conversation
    assert session.name == "work"
    parts = loaded.entries[0].message.parts
    assert [part.name for part in parts if not isinstance(part, Text)] == ["cat.png", "clip.mp4", "hello.wav"]
    image, video, _, audio = parts
    assert np.array_equal(image.pixels, PICTURE.pixels)
    assert np.array_equal(audio.samples, SOUND.samples)
    assert [np.array_equal(a.pixels, b.pixels) for a, b in zip(video.frames, VIDEO.frames, strict=True)] == [True] * 2
    assert video.seconds == VIDEO.seconds


def test_an_attachment_is_stored_once_and_goes_with_its_last_user(path: Path):
    store = SessionStore.open(path)
    blobs = lambda: store._db.execute("SELECT count(*) FROM blob").fetchone()[0]  # noqa: E731
    one = exchange(exchange(Conversation().staging(PICTURE), "a").staging(PICTURE), "b")
    store.new("one").save(one)
    store.new("two").save(one)
    assert blobs() == 1
    store.delete("one")
    assert blobs() == 1
    store.delete("two")
    assert blobs() == 0


def test_retry_and_undo_replace_only_what_changed(path: Path):
    store = SessionStore.open(path)
    session = store.new()
    session.save(chat("a", "b"))
    ids = store._db.execute("SELECT id FROM message ORDER BY seq").fetchall()
    session.save(chat("a", "c"))
    assert stored(path, session.name) == ["a", "re a", "c", "re c"]
    assert store._db.execute("SELECT id FROM message ORDER BY seq").fetchall()[:2] == ids[:2]
    session.save(chat("a"))
    assert stored(path, session.name) == ["a", "re a"]


def test_sessions_are_named_by_their_first_words_and_names_never_clash(path: Path):
    store = SessionStore.open(path)
    names = []
    for _ in range(3):
        session = store.new()
        session.save(chat("How do I sort a list?"))
        names.append(session.name)
    assert names == ["how-do-i-sort-a-list", "how-do-i-sort-a-list-2", "how-do-i-sort-a-list-3"]
    with pytest.raises(InputError, match="exists"):
        store.new(names[0])
    with pytest.raises(InputError, match="exists"):
        session.rename(names[0])
    session.rename("sorting")
    session.save(chat("How do I sort a list?", "and a set?"))
    assert store.list()[0].name == "sorting"
    assert name_for((Entry(Message("user", (PICTURE,))),)) == "cat-png"
    assert name_for((Entry(Message("user", (Text("?!"),))),)) == "chat"


def test_the_latest_is_the_one_last_written_to_whatever_the_clock_says(path: Path, monkeypatch: pytest.MonkeyPatch):
    store = SessionStore.open(path)
    first, second = store.new("first"), store.new("second")
    first.save(chat("a"))
    second.save(chat("b"))
    store._db.execute("UPDATE message SET said_at = '2001-01-01T00:00:00+00:00' WHERE session_id = 2")
    assert store.latest() == "second"
    first.save(chat("a", "c"))
    assert store.latest() == "first"
    assert [(s.name, s.messages, s.opening) for s in store.list()] == [("first", 4, "a"), ("second", 2, "b")]


def test_an_unknown_session_is_named_with_the_nearest_there_is(path: Path):
    store = SessionStore.open(path)
    store.new("holiday plans").save(chat("a"))
    with pytest.raises(InputError, match="did you mean 'holiday plans'"):
        store.load("holiday plan")
    with pytest.raises(InputError, match="no saved chat is named 'x'"):
        store.delete("x")


@pytest.mark.parametrize("name", ["", "  ", "a" * 61, "a\x1b[2J", "-rf"])
def test_names_that_cannot_be_typed_or_shown_are_refused(path: Path, name: str):
    with pytest.raises(InputError, match="is not a valid name for a chat"):
        SessionStore.open(path).new(name)


def test_a_chat_without_a_word_is_not_stored(path: Path):
    store = SessionStore.open(path)
    store.new().save(Conversation(system="s"))
    assert store.list() == []
    assert store.latest() is None


def test_a_chat_whose_last_word_is_taken_back_leaves_no_empty_session(path: Path):
    store = SessionStore.open(path)
    session = store.new()
    session.save(chat("a"))
    session.save(Conversation())
    assert store.list() == []
    session.save(chat("b"))
    assert stored(path, session.name) == ["b", "re b"]


def test_two_chats_on_one_session_branch_and_never_interleave(path: Path):
    SessionStore.open(path).new("work").save(chat("a"))
    (mine, history), (yours, same) = SessionStore.open(path).load("work"), SessionStore.open(path).load("work")
    assert mine.save(exchange(history, "mine")) is None
    assert (
        yours.save(exchange(same, "yours"))
        == "another process changed the chat 'work', so this chat continues under the name 'work-2'"
    )
    assert yours.name == "work-2"
    assert mine.save(exchange(exchange(history, "mine"), "mine too")) is None
    assert yours.save(exchange(exchange(same, "yours"), "yours too")) is None
    assert stored(path, "work") == ["a", "re a", "mine", "re mine", "mine too", "re mine too"]
    assert stored(path, "work-2") == ["a", "re a", "yours", "re yours", "yours too", "re yours too"]


def test_a_session_deleted_under_a_chat_is_made_again_by_its_next_turn(path: Path):
    store = SessionStore.open(path)
    session = store.new("work")
    session.save(chat("a"))
    SessionStore.open(path).delete("work")
    assert (
        session.save(chat("a", "b"))
        == "another process changed the chat 'work', so this chat continues under the name 'work'"
    )
    assert stored(path, session.name) == ["a", "re a", "b", "re b"]


def test_a_failed_save_changes_nothing_and_the_next_one_catches_up(path: Path):
    store = SessionStore.open(path)
    session = store.new("work")
    session.save(chat("a"))
    page_limit = store._db.execute("PRAGMA page_count").fetchone()[0] + 1
    store._db.execute(f"PRAGMA max_page_count = {page_limit}")  # the disk is full
    with pytest.raises(GemmaError, match=r"sessions\.db: chats cannot be saved .database or disk is full") as failure:
        session.save(exchange(chat("a"), "b" * 20_000))
    assert failure.value.exit_code == 1
    assert stored(path, "work") == ["a", "re a"]
    store._db.execute("PRAGMA max_page_count = 1000000")
    session.save(chat("a", "c"))
    assert stored(path, "work") == ["a", "re a", "c", "re c"]


def test_only_the_owner_can_read(path: Path):
    before = os.umask(0)
    try:
        store = SessionStore.open(path)
        store.new().save(chat("secret"))
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    assert {"sessions.db", "sessions.db-wal"} <= set(modes)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_is_deleted_is_gone_from_the_file(path: Path):
    store = SessionStore.open(path)
    store.new("work").save(chat("xyzzy-plugh"))
    store.delete("work")
    assert not any(b"xyzzy-plugh" in file.read_bytes() for file in path.parent.iterdir())


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=()), min_size=1, max_size=40), raw=st.binary(max_size=20))
def test_any_text_is_stored_and_never_a_surrogate(tmp_path_factory, text: str, raw: bytes):
    store = SessionStore.open(tmp_path_factory.mktemp("db") / "s.db")
    name = raw.decode("utf-8", "surrogateescape")
    picture = Image("d", name, PIXELS)
    thinking = Message("assistant", (Text(text),), thinking=text)
    entries = (Entry(Message("user", (picture, Text(text)))), Entry(thinking, "stop", name))
    session = store.new()
    session.save(Conversation(system=text, entries=entries))
    loaded = store.load(session.name)[1]
    assert loaded.entries[0].message.text == loaded.entries[1].message.thinking == loaded.system == well_formed(text)
    to_markdown("x", loaded).encode()
    to_json("x", loaded).encode()
    store.close()


def test_killed_at_any_moment_every_completed_turn_is_there(path: Path):
    chance = random.Random(4)
    SessionStore.open(path).close()
    for round_number in range(20):
        read, write = os.pipe()

        def turns(name: str = f"chat-{round_number}", ack: int = write) -> None:
            session, conversation = SessionStore.open(path).new(name), Conversation()
            for number in itertools.count():
                conversation = exchange(conversation.staging(PICTURE), f"{number} " + "x" * 500)
                session.save(conversation)
                os.write(ack, b".")

        child = in_child(turns)
        os.close(write)
        os.read(read, 1)  # it has saved its first turn
        time.sleep(chance.random() * 0.04)
        os.kill(child, signal.SIGKILL)
        assert statuses([child]) == [-signal.SIGKILL]
        acknowledged = 1
        while chunk := os.read(read, 65536):
            acknowledged += len(chunk)
        os.close(read)
        texts = stored(path, f"chat-{round_number}")
        said = len(texts) // 2
        assert len(texts) % 2 == 0
        assert acknowledged <= said <= acknowledged + 1, "a turn that `save` had returned from is gone"
        assert [text.split()[0] for text in texts[::2]] == [str(n) for n in range(said)]
    check = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert check == ("ok",)


def test_eight_processes_lose_nothing_in_one_store(path: Path):
    def talk(name: str) -> Callable[[], None]:
        def work() -> None:
            session, conversation = SessionStore.open(path).new(name), Conversation()
            for number in range(50):
                conversation = exchange(conversation, f"{name} {number}")
                assert session.save(conversation) is None

        return work

    names = [f"p{number}" for number in range(8)]
    assert statuses([in_child(talk(name)) for name in names]) == [0] * 8
    for name in names:
        assert stored(path, name)[::2] == [f"{name} {number}" for number in range(50)]


@pytest.mark.parametrize("attempt", range(5))
def test_sixteen_processes_may_start_at_once_on_an_empty_disk(path: Path, attempt: int):
    def first_turn(name: str) -> Callable[[], None]:
        return lambda: SessionStore.open(path).new(name).save(chat("a")) and None

    assert statuses([in_child(first_turn(f"p{number}")) for number in range(16)]) == [0] * 16
    assert len(SessionStore.open(path).list()) == 16


def test_a_database_of_a_later_version_is_left_alone(path: Path):
    store = SessionStore.open(path)
    store._db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    store.close()
    with pytest.raises(GemmaError, match="a newer version of gemma"):
        SessionStore.open(path)


def test_a_damaged_file_and_a_forbidden_folder_are_told_in_one_line(path: Path, tmp_path: Path):
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(GemmaError, match="is damaged"):
        SessionStore.open(path)
    with pytest.raises(GemmaError, match="cannot be saved"):
        SessionStore.open(Path("/proc/nowhere/sessions.db"))


def test_any_name_can_be_asked_for(path: Path):
    store = SessionStore.open(path)
    for name in ("\udcff", "\0", "", "x" * 10_000, "'; DROP TABLE session; --"):
        assert not store.exists(name)
        with pytest.raises(InputError, match="no saved chat is named"):
            store.load(name)
        with pytest.raises(InputError, match="no saved chat is named"):
            store.delete(name)


def test_a_damaged_attachment_is_told(path: Path):
    store = SessionStore.open(path)
    store.new("work").save(exchange(Conversation().staging(PICTURE), "a"))
    store._db.execute("UPDATE blob SET array = x'00'")
    with pytest.raises(GemmaError, match="is damaged"):
        store.load("work")


def test_export_names_everything_said(path: Path):
    conversation = exchange(Conversation(system="be kind").staging(PICTURE), "what is it?", thinking="a cat?")
    conversation = conversation.saying("more").hearing(Turn(text="It"), "pocket")
    text = to_markdown("work", conversation)
    for expected in (
        "# work",
        "be kind",
        "*[image: cat.png]*",
        "what is it?",
        "a cat?",
        "re what is it?",
        "*[cut off]*",
    ):
        assert expected in text
    document = json.loads(to_json("work", conversation))
    assert document["messages"][0]["attachments"] == [{"kind": "image", "name": "cat.png"}]
    assert document["messages"][1]["thinking"] == "a cat?"
    assert document["messages"][3]["finish_reason"] == "interrupted"
    assert document["messages"][3]["model"] == "pocket"


def test_session_is_unnamed_until_its_first_save(path: Path):
    session = SessionStore.open(path).new()
    assert isinstance(session, Session)
    assert session.name is None
    session.rename("named before")
    session.save(chat("a"))
    assert session.name == "named before"


@pytest.mark.parametrize("size", [0, 100])
def test_an_export_that_does_not_fit_leaves_no_half_of_it(tmp_path: Path, size: int):
    """Which would be in the way of the next try."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(GemmaError, match="the file cannot be written"):
            write(tmp_path / "chat.md", "work", chat("a" * 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "chat.md", "work", chat("a" * 1000))
    assert (tmp_path / "chat.md").stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="exists"):
        write(tmp_path / "chat.md", "work", chat("b"))
    assert "a" * 1000 in (tmp_path / "chat.md").read_text()
