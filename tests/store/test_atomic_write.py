"""What a killed program leaves beside a file is removed by the next write of it, and nothing that is in use is."""

import os
import signal
from pathlib import Path

import pytest

from gemma_cli.store import atomic_write
from gemma_cli.store.atomic_write import write_whole

fcntl = pytest.importorskip("fcntl", reason="files are locked on POSIX systems only")


def killed_while_writing(path: Path) -> Path:
    """Write in a program that is killed before the rename. Returns the temporary file that it leaves."""
    child = os.fork()
    if not child:
        Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,method-assign]
        write_whole(path, "half of it")
    os.waitpid(child, 0)
    (left,) = path.parent.glob(".*.part")
    return left


def aged(path: Path) -> Path:
    os.utime(path, times=(0, 0))
    return path


def test_what_a_killed_program_left_is_removed_by_the_next_write(tmp_path):
    aged(killed_while_writing(tmp_path / "a.txt"))
    write_whole(tmp_path / "a.txt", "all of it")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "all of it"}


def test_what_may_be_in_use_stays(tmp_path):
    young = tmp_path / ".a.txt.young.part"
    young.touch()
    other = aged_file(tmp_path / ".b.txt.other.part")
    held = aged_file(tmp_path / ".a.txt.held.part")
    aged_file(tmp_path / "target")
    link = tmp_path / ".a.txt.link.part"
    link.symlink_to(tmp_path / "target")
    os.utime(link, times=(0, 0), follow_symlinks=False)
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_whole(tmp_path / "a.txt", "all of it")
    assert {young, other, held, link} <= set(tmp_path.iterdir())
    write_whole(tmp_path / "a.txt", "all of it")
    assert not held.exists()


def test_a_file_is_locked_until_it_has_its_name(tmp_path, monkeypatch):
    replaced = Path.replace
    tried = []

    def replace(path: Path, target: Path) -> Path:
        aged(path)
        atomic_write._remove_abandoned(Path(target))
        tried.append(path.exists())
        return replaced(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_whole(tmp_path / "a.txt", "all of it")
    assert tried == [True]


def aged_file(path: Path) -> Path:
    path.touch()
    return aged(path)
