import faulthandler
import os
import time
from pathlib import Path

import pytest

from gemma_cli.core.events import Round, Speculation, Timings, Turn, Usage
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.journal import Journal, fingerprint

KEY = {"recording": "abc", "model": "pocket"}
SPECULATION = Speculation([Round(4, 2), Round(3, 3)])
TURN = Turn(
    "grüß \ud800 \n",
    finish_reason="length",
    usage=Usage(1, 2, 0),
    timings=Timings(None, 0.5, 1.5),
    speculation=SPECULATION,
)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def journals(state):
    return list(state.rglob("*.jsonl"))


def test_what_was_added_is_found_again_and_gone_when_finished(state):
    journal = Journal.open(KEY)
    journal.add("one", TURN)
    journal.close()
    again = Journal.open(KEY)
    assert (again.find("one"), again.find("two"), again.resumed) == (TURN, None, 1)
    again.finish()
    assert journals(state) == []
    assert Journal.open(KEY).resumed == 0


@pytest.mark.parametrize("changed", [{"recording": "abd"}, {"model": "e2b"}, {"clip": 3}])
def test_another_key_is_another_journal(changed):
    journal = Journal.open(KEY)
    journal.add("one", TURN)
    journal.close()
    assert Journal.open(KEY | changed).find("one") is None


def test_a_journal_cut_anywhere_keeps_its_whole_lines(state):
    journal = Journal.open(KEY)
    for name in ("one", "two", "three"):
        journal.add(name, TURN)
    journal.close()
    (path,) = journals(state)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        cut = Journal.open(KEY)
        assert cut.resumed == content[:length].count(b"\n")
        cut.add("four", TURN)
        cut.close()
        again = Journal.open(KEY)
        assert (again.resumed, again.find("four")) == (cut.resumed + 1, TURN)
        again.close()


@pytest.mark.parametrize("line", [b"\0\0\0\n", b"[]\n", b"{}\n", b'{"digest": 1}\n', b"\xff\n", b"?" * 9999])
def test_a_line_that_is_none_ends_what_is_known(state, line):
    journal = Journal.open(KEY)
    journal.add("one", TURN)
    journal.close()
    (path,) = journals(state)
    path.write_bytes(path.read_bytes() + line)
    again = Journal.open(KEY)
    assert again.resumed == 1
    again.add("two", TURN)
    again.close()
    assert path.read_bytes().endswith(b"}\n")
    assert Journal.open(KEY).resumed == 2


def test_two_processes_do_not_share_a_journal():
    first = Journal.open(KEY)
    first.add("one", TURN)
    second = Journal.open(KEY)
    second.add("two", TURN)
    second.finish()
    first.close()
    assert Journal.open(KEY).resumed == 1


def test_a_state_folder_that_cannot_be_written_to_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    journal = Journal.open(KEY)
    journal.add("one", TURN)
    assert journal.find("one") == TURN
    journal.finish()


def test_a_disk_that_is_full_stops_nothing(monkeypatch):
    journal = Journal.open(KEY)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    journal.add("one", TURN)
    journal.add("two", TURN)
    journal.finish()


def test_journals_nobody_came_back_to_are_forgotten(state):
    journal = Journal.open(KEY)
    journal.add("one", TURN)
    journal.close()
    (path,) = journals(state)
    month = time.time() - 31 * 24 * 3600
    os.utime(path, (month, month))
    Journal.open(KEY | {"recording": "other"}).close()
    assert path not in journals(state)


def test_a_checkpoint_that_changed_has_another_fingerprint(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"four")
    assert fingerprint(tmp_path) != before
    assert fingerprint(None) == ""


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.txt"
    write_whole(path, "one\r\n")
    assert path.read_bytes() == b"one\r\n"

    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Exception, match=r"a\.txt: the file cannot be written \(Input/output error\)"):
        write_whole(path, "two")
    assert path.read_bytes() == b"one\r\n"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_lost_in_memory(state):
    assert Journal.open(KEY).trouble == ""
    for file in state.rglob("*.jsonl"):
        file.unlink()
    (state / "gemma-cli" / "unfinished").rmdir()
    (state / "gemma-cli" / "unfinished").write_text("in the way")
    journal = Journal.open(KEY)
    assert journal.trouble == f"{state}/gemma-cli/unfinished: File exists"
    journal.add("one", TURN)
    assert journal.find("one") == TURN
    assert not journal.lasts


def test_a_disk_that_becomes_full_is_told_and_nothing_is_lost_in_memory(state):
    with Path("/dev/full").open("r+b", buffering=0) as full:
        journal = Journal()
        journal._file, journal._path = full, state / "unfinished" / "x.jsonl"
        journal.add("one", TURN)
        assert journal.trouble == f"{state}/unfinished: No space left on device"
        journal.add("two", TURN)
        assert (journal.find("one"), journal.find("two"), journal.lasts) == (TURN, TURN, False)


def test_a_journal_that_another_process_writes_is_no_trouble(state):
    first, second = Journal.open(KEY), Journal.open(KEY)
    first.add("one", TURN)
    assert (second.trouble, second.find("one")) == ("", None)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_in_its_place_is_not_waited_for(state, kind):
    Journal.open(KEY).add("one", TURN)
    (path,) = journals(state)
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        assert Journal.open(KEY).resumed == 0
    finally:
        faulthandler.cancel_dump_traceback_later()
