"""Power cuts at every step: what was acknowledged is on the disk, and nothing there is half of something."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from gemma_cli.core.events import Turn
from gemma_cli.store import session_schema
from gemma_cli.store.atomic_write import write_together
from gemma_cli.store.journal import Journal
from tests.store.losing_disk import Files, LosingDisk, every_cut

OLD, NEW = b"what was there before", b"what is there now, and longer"


def test_files_written_together_are_old_or_new_and_new_at_the_end(tmp_path: Path) -> None:
    one, two = tmp_path / "a.txt", tmp_path / "b.srt"

    def prepare() -> None:
        one.write_bytes(OLD)
        two.write_bytes(OLD)

    cuts = 0
    for ended, files in every_cut(tmp_path, prepare, lambda: write_together({one: NEW, two: NEW})):
        cuts += 1
        assert {files[one], files[two]} <= ({NEW} if ended else {OLD, NEW})
    assert cuts > 8


def test_what_a_journal_was_given_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    disk = LosingDisk(tmp_path)
    with disk.running():
        with_two = Journal.open({"recording": "abc"})
        for digest in ("one", "two"):
            with_two.add(digest, Turn(f"the text of {digest}"))
    assert len(disk.survivors) == 2
    for files in disk.survivors:
        (content,) = (content for path, content in files.items() if path.suffix == ".jsonl")
        assert [digest in content for digest in (b"the text of one", b"the text of two")] == [True, True]
    with_two.close()


@pytest.mark.skipif(os.name == "nt", reason="kernels are for Linux")
def test_a_kernel_library_is_whole_or_its_record_says_so(tmp_path: Path) -> None:
    from gemma_cli.engines.local.native import stored

    library = tmp_path / "kernels.so"

    def prepare() -> None:
        stored.remove(library)
        made = tmp_path / "old.so"
        made.write_bytes(OLD)
        stored.store(made, library)
        (tmp_path / "made.so").write_bytes(NEW)

    def believed(files: Files) -> bytes | None:
        record, content = files.get(library.with_suffix(".json"), b""), files.get(library, b"")
        right = record and json.loads(record)["sha256"] == hashlib.sha256(content).hexdigest()
        return content if right else None

    for ended, files in every_cut(tmp_path, prepare, lambda: stored.store(tmp_path / "made.so", library)):
        assert believed(files) in ([NEW] if ended else [OLD, NEW, None])


def test_a_database_of_chats_syncs_each_turn_and_wipes_what_is_deleted(tmp_path: Path) -> None:
    """SQLite syncs below Python, so its own settings are asked for."""
    with closing(session_schema.connect(str(tmp_path / "sessions.db"))) as db:
        settings = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "secure_delete")]
    assert settings == [2, 1]
