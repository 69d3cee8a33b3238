"""Sessions on disks that are full, read-only or pulled away: what can be read is read, what can be saved is saved."""

import faulthandler
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.events import Turn, Usage
from gemma_cli.store import database
from gemma_cli.store.locks import SessionLock
from gemma_cli.store.sessions import SessionStore
from tests.faulty_disk import CAN_PRELOAD, Fault, build, faulty


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sessions.db"


def chat(*texts: str) -> Conversation:
    conversation = Conversation()
    for text in texts:
        reply = Turn(text=f"re {text}", finish_reason="stop", usage=Usage(10, 5, 0))
        conversation = conversation.saying(text).hearing(reply, "pocket")
    return conversation


def stored(path: Path, name: str) -> list[str]:
    store = SessionStore.open(path)
    try:
        return [entry.message.text for entry in store.load(name)[1].entries][::2]
    finally:
        store.close()


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """End the tests where one hangs in a system call, which no exception interrupts."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


# --- a disk that cannot be written to -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not CAN_PRELOAD:
        pytest.skip("needs gcc and LD_PRELOAD")
    return build(tmp_path_factory.mktemp("faulty"))


READS = """
import sys
from pathlib import Path
from gemma_cli.core.errors import GemmaError
from gemma_cli.store.sessions import SessionStore
store = SessionStore.open(Path(sys.argv[1]))
session, conversation = store.load("work")
print([summary.name for summary in store.list()], store.latest(), store.exists("nobody"))
print([entry.message.text for entry in conversation.entries])
changes = lambda: session.save(conversation.saying("b")), lambda: session.rename("x"), lambda: store.delete("work")
for change in changes:
    try:
        print(change(), "was possible")
    except GemmaError as error:
        print(str(error).startswith(f"{sys.argv[1]}: chats cannot be saved ("), "\\n" in str(error))
"""


@pytest.mark.parametrize("fault", ["full", "readonly"])
@pytest.mark.parametrize("opened", [False, True])
def test_what_cannot_be_written_is_read(library: Path, path: Path, fault: Fault, opened: bool) -> None:
    """Whether another chat has it open, with turns in the write-ahead log, or nobody has."""
    store = SessionStore.open(path)
    store.new("work").save(chat("a"))
    if not opened:
        store.close()
    command = [sys.executable, "-c", READS, str(path)]
    env = os.environ | faulty(library, path.parent, fault)
    ran = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["['work'] work False", "['a', 're a']", *["True False"] * 3]
    store.close()
    assert stored(path, "work") == ["a"]


def test_a_disk_that_recovers_is_written_to_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SessionStore.open(path)
    first.new("work").save(chat("a"))
    first.close()

    def fails(path: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", fails)
        store = SessionStore.open(path)
        session, _ = store.load("work")
        for _ in range(2):
            with pytest.raises(GemmaError, match="disk is full"):
                session.save(chat("a", "b"))
    assert session.save(chat("a", "b", "c")) is None
    assert stored(path, "work") == ["a", "b", "c"]


def test_a_lock_is_no_reason_to_read_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SessionStore.open(path).new("work").save(chat("a"))

    def fails(path: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(database, "connect", fails)
    with pytest.raises(GemmaError, match="another gemma process is using the file"):
        SessionStore.open(path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "dangling link", "below a file"])
def test_what_is_not_a_file_is_refused_at_once(path: Path, kind: str) -> None:
    path.parent.mkdir()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling link":
            path.symlink_to("/nowhere/at/all")
        case _:
            path.parent.rmdir()
            path.parent.write_text("a file")
    with within(20), pytest.raises(GemmaError, match=f"{path}: chats cannot be saved") as failure:
        SessionStore.open(path)
    assert "\n" not in str(failure.value)


# --- a database that goes away --------------------------------------------------------------------------------------


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)


def _delete_all(path: Path) -> None:
    for file in path.parent.glob("*"):
        file.unlink()


def _delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)


def _move(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def _replace(path: Path) -> None:
    """By one in which the same row, at the same version, is somebody else's chat."""
    other = path.with_name("other.db")
    store = SessionStore.open(other)
    session = store.new("theirs")
    session.save(chat("x"))
    session.save(chat("x", "y"))
    store.close()
    other.replace(path)


WAYS = [_delete, _delete_all, _delete_folder, _move, _replace]


@pytest.mark.parametrize("pull", WAYS)
def test_a_chat_whose_database_goes_is_saved_anew_and_says_so(path: Path, pull: Callable[[Path], None]) -> None:
    store = SessionStore.open(path)
    store.new("private").save(chat("a secret"))
    session = store.new("work")
    session.save(chat("a"))
    session.save(chat("a", "b"))
    assert not session.lost
    pull(path)
    assert session.lost
    assert session.save(chat("a", "b", "c")) == (
        f"{path} was deleted or replaced, so this chat is saved again as 'work'"
    )
    assert not session.lost
    assert session.save(chat("a", "b", "c", "d")) is None
    assert stored(path, "work") == ["a", "b", "c", "d"]
    names = {summary.name for summary in SessionStore.open(path).list()}
    assert names == {"work"} | ({"theirs"} if pull is _replace else set()), "what was deleted stays deleted"
    if pull is _replace:
        assert stored(path, "theirs") == ["x", "y"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("pull", WAYS)
def test_other_calls_find_the_database_that_is_there(path: Path, pull: Callable[[Path], None]) -> None:
    store = SessionStore.open(path)
    session = store.new("work")
    session.save(chat("a"))
    pull(path)
    assert [summary.name for summary in store.list()] == (["theirs"] if pull is _replace else [])
    with pytest.raises(InputError):
        store.load("work")
    session.rename("renamed")
    session.save(Conversation())  # all was taken back: nothing of anybody's is removed
    assert session.save(chat("b")) is None
    assert stored(path, "renamed") == ["b"]
    if pull is _replace:
        assert stored(path, "theirs") == ["x", "y"]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["save", "pull"])), max_size=12), st.data())
@settings(max_examples=6)
def test_what_was_saved_last_is_there_whatever_was_pulled_before(tmp_path_factory, steps, data) -> None:
    """Three chats share a database that is now and then pulled away."""
    path = tmp_path_factory.mktemp("pulled") / "state" / "sessions.db"
    sessions = [SessionStore.open(path).new("work") for _ in range(3)]
    said: list[list[str]] = [[], [], []]
    for number, (index, step) in enumerate(steps):
        if step == "pull":
            data.draw(st.sampled_from([way for way in WAYS if way is not _move]))(path)
            continue
        said[index].append(str(number))
        sessions[index].save(chat(*said[index]))
        assert stored(path, sessions[index].name) == said[index]


def test_a_failure_to_save_anew_is_told_and_made_up_for(path: Path) -> None:
    session = SessionStore.open(path).new("work")
    session.save(chat("a"))
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    for _ in range(2):
        with pytest.raises(GemmaError, match="cannot be saved"):
            session.save(chat("a", "b"))
    path.parent.unlink()
    assert "again as 'work'" in session.save(chat("a", "b", "c"))
    assert stored(path, "work") == ["a", "b", "c"]


# --- two chats of one name ------------------------------------------------------------------------------------------


def test_a_name_that_another_took_first_is_told(path: Path) -> None:
    mine, yours = SessionStore.open(path).new("work"), SessionStore.open(path).new("work")
    assert mine.save(chat("mine")) is None
    assert (
        yours.save(chat("yours"))
        == "another process started a chat 'work', so this chat continues under the name 'work-2'"
    )
    unnamed = SessionStore.open(path).new()
    assert unnamed.save(chat("work")) is None  # a name that nobody asked for may be another


OPENS = """
import sys
from pathlib import Path
from gemma_cli.store.sessions import SessionStore
store = SessionStore.open(Path(sys.argv[1]))
for name in sys.argv[2:]:
    print((store.load(name)[0] if store.exists(name) else store.new(name)).hold() or "", flush=True)
sys.stdin.read()
"""


class Another:
    """Another process that opens sessions, the last of which it holds until it ends."""

    def __init__(self, path: Path, *names: str) -> None:
        command = [sys.executable, "-c", OPENS, str(path), *names]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.lines = [self.process.stdout.readline().strip() for _ in names]

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("begun", [False, True])
def test_a_chat_that_another_has_open_is_told_before_anything_is_said(path: Path, begun: bool) -> None:
    store = SessionStore.open(path)
    session = store.new("work")
    if begun:
        session.save(chat("a"))
    assert session.hold() is None
    other = Another(path, "work", "play")
    assert other.lines[0].startswith("another process has the chat 'work' open too: ")
    assert other.lines[1] == ""
    assert store.new("play").hold()
    other.end()
    assert store.new("play").hold() is None  # and let go of by whoever is killed
    again = Another(path, "work")  # whoever goes on with another chat lets go of the first
    assert again.lines == [""]
    again.end()


def test_a_chat_holds_the_name_that_its_first_message_gives_it(path: Path) -> None:
    session = SessionStore.open(path).new()
    assert session.hold() is None
    session.save(chat("how do I sort"))
    other = Another(path, "how-do-i-sort")
    assert "another process has the chat" in other.lines[0]
    other.end()


@pytest.mark.parametrize("kind", ["pipe", "folder", "below a file", "device"])
def test_where_nothing_can_be_locked_every_name_is_free(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/null")
        case _:
            path.touch()
            path = path / "lock"
    holds = SessionLock(path)
    with within(20):
        assert holds.hold("work")
        assert holds.hold("work")
        holds.close()
