"""What was typed before, where its file is odd or its disk is full: the chat goes on without."""

from __future__ import annotations

import faulthandler
import os
import resource
from pathlib import Path

import pytest

from gemma_cli.repl.editor import history_at


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "dangling link", "below a file", "file"])
def test_a_history_that_is_no_file_is_kept_in_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state" / "history"
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
        case "below a file":
            path.parent.rmdir()
            path.parent.touch()
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        history = history_at(path)
        assert list(history.load_history_strings()) == []
        history.append_string("hello")
        assert history.get_strings() == ["hello"]
    finally:
        faulthandler.cancel_dump_traceback_later()
    if kind == "file":
        assert list(history_at(path).load_history_strings()) == ["hello"]


def test_a_disk_that_is_full_or_pulled_away_loses_history_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history"
    history = history_at(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        history.append_string("hello")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    path.unlink()
    path.mkdir()
    history.append_string("and?")
    assert history.get_strings() == ["hello", "and?"]
    assert list(history.load_history_strings()) == []
