"""Small files in known places: regular ones are read, nothing else is waited for, and nothing is endless."""

import faulthandler
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.models import hub

ODD = ("pipe", "folder", "device", "endless device", "socket", "loop", "dangling link", "below a file")


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """What hangs in a system call ends the tests: no exception would interrupt it."""
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def put(path: Path, kind: str) -> None:
    """Something that is not a regular file, at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/null")
        case "endless device":
            path.symlink_to("/dev/zero")
        case "socket":
            here = Path.cwd()
            os.chdir(path.parent)  # a socket's path is short
            socket.socket(socket.AF_UNIX).bind(path.name)
            os.chdir(here)
        case "loop":
            path.symlink_to(path)
        case "dangling link":
            path.symlink_to("/nowhere/at/all")
        case "below a file":
            path.parent.rmdir()
            path.parent.touch()


@pytest.mark.parametrize("kind", ODD)
def test_what_is_not_a_regular_file_is_an_error(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "folder" / "file", kind)
    with pytest.raises(OSError, match=r".") as failure:
        read_text(tmp_path / "folder" / "file")
    assert failure.value.strerror


def test_a_regular_file_is_read_through_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("grüß\r\n", encoding="utf-8", newline="")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "grüß\r\n"
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "file")


def test_more_than_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 10)
    assert read_text(tmp_path / "file", 10) == "x" * 10
    (tmp_path / "file").write_text("x" * 11)
    with pytest.raises(OSError, match="more than"):
        read_text(tmp_path / "file", 10)


@pytest.mark.parametrize("place", ["refs/main", "snapshots", "snapshots/c0ffee/config.json", "."])
@pytest.mark.parametrize("kind", ODD)
def test_a_hub_cache_of_odd_things_holds_no_complete_model(home: Path, place: str, kind: str) -> None:
    name = "google/gemma-4-E2B-it"
    put(hub.hub_cache() / "models--google--gemma-4-E2B-it" / place, kind)
    found = hub.find(name)
    assert not (found and found.complete)
    assert not any(entry.complete for entry in hub.gemma_models())


@pytest.mark.parametrize("kind", ODD)
def test_a_hub_cache_that_is_no_folder_is_empty(home: Path, kind: str) -> None:
    if kind != "folder":
        put(hub.hub_cache(), kind)
    assert hub.find("google/gemma-4-E2B-it") is None
    assert hub.gemma_models() == []


def test_a_folder_that_may_not_be_looked_into_is_passed_over(
    home: Path, cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's; root, who may run the tests, may look anywhere."""
    cached("google/gemma-4-E2B-it")
    assert hub.find("google/gemma-4-E2B-it")
    real = os.stat

    def stat(path, *arguments, **options):
        if "snapshots" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert hub.find("google/gemma-4-E2B-it") is None
    assert hub.gemma_models() == []
    assert not hub.is_checkpoint(home / "snapshots")
