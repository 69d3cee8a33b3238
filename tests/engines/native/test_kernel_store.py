"""The kernel library on disk: not loaded when damaged in any way, and tried again when its build may succeed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.native import build, stored
from tests.engines.helpers.kernels import CAN_BUILD
from tests.engines.helpers.stored_kernels import (
    FALLEN_BACK,
    MISSING,
    REBUILT,
    Copies,
    Loaded,
    Process,
    cuts,
    flips,
    is_private,
    load,
    record,
    wrong,
)

pytestmark = pytest.mark.skipif(not CAN_BUILD, reason="needs gcc")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    return Copies(tmp_path_factory.mktemp("copies"))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine on which nothing was built yet: the folder that libraries go to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GEMMA_KERNELS", raising=False)
    build.library.cache_clear()
    yield tmp_path / "cache" / "gemma-cli" / "kernels"
    build.library.cache_clear()


def again() -> build.Built:
    """What another process would find."""
    build.library.cache_clear()
    return build.library()


def test_a_library_cut_short_kills_nobody(copies: Copies) -> None:
    """dlopen maps the file, and a page that is not there is SIGBUS."""
    for name, damage in cuts(copies.size, 6):
        assert not wrong(copies.fares(damage)), name
    for name, damage in cuts(copies.size, 2):
        assert not wrong(copies.fares(damage, compiler=False), "torch", "torch"), name


def test_loading_a_library_cut_short_unchecked_would_kill(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what the check guards against is real here, and a child that dies of it is seen."""
    monkeypatch.setattr(stored, "doubt", lambda library: None)
    cache = copies.cache()
    os.truncate(copies.library(cache), copies.size // 2)
    assert load(cache, "") == Loaded("killed by SIGBUS")


def test_one_other_bit_is_enough(copies: Copies) -> None:
    for name, damage in flips(copies.size, 3):
        assert not wrong(copies.fares(damage)), name


@pytest.mark.parametrize("name", REBUILT)
def test_what_is_not_as_it_was_stored_is_built_again(copies: Copies, name: str) -> None:
    cache = copies.cache()
    library = copies.library(cache)
    REBUILT[name](library)
    assert not wrong((load(cache, str(copies.bin)), load(cache, str(copies.bin))))
    assert is_private(library.parent)
    assert library.read_bytes() == copies.original.read_bytes()
    assert sorted(library.parent.iterdir()) == sorted([library, record(library)])


@pytest.mark.parametrize("name", MISSING)
def test_what_is_not_there_is_built_without_a_word(copies: Copies, name: str) -> None:
    assert not wrong(copies.fares(MISSING[name]), line=False)


@pytest.mark.parametrize("name", FALLEN_BACK)
def test_what_is_not_ours_is_left_alone(copies: Copies, name: str) -> None:
    cache = copies.cache()
    library = copies.library(cache)
    FALLEN_BACK[name](library)
    before = library.parent.lstat()
    first = load(cache, str(copies.bin))
    assert not wrong((first, load(cache, str(copies.bin))), "torch", "torch")
    assert str(library.parent) in first.notice
    after = library.parent.lstat()
    assert (before.st_mode, before.st_uid, before.st_mtime_ns) == (after.st_mode, after.st_uid, after.st_mtime_ns)


def test_a_record_holds_size_and_digest_and_its_folder_is_private(copies: Copies) -> None:
    library = copies.library(copies.cache())
    assert is_private(library.parent)
    assert [file.stat().st_mode & 0o777 for file in (library, record(library))] == [0o600, 0o600]
    assert f'"size": {copies.size}' in record(library).read_text()


def test_a_crash_while_storing_leaves_what_was_there_or_what_is_rejected(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever call on the file system is the last one."""
    outcomes = set()
    for last in range(12):
        library = copies.library(copies.cache())
        made = copies.folder / "new.so"
        made.write_bytes(b"new")
        with monkeypatch.context() as patch:
            done = 0

            def dies(call: object, *arguments: object, last: int = last) -> object:
                nonlocal done
                done += 1
                if done > last:
                    raise KeyboardInterrupt
                return call(*arguments)  # type: ignore[operator]

            for name in ("replace", "chmod", "write_text"):
                real = getattr(Path, name)
                patch.setattr(Path, name, lambda *arguments, real=real: dies(real, *arguments))
            patch.setattr(os, "fsync", lambda descriptor, real=os.fsync: dies(real, descriptor))
            with suppress(KeyboardInterrupt):
                stored.store(made, library)
        doubted = stored.doubt(library)
        outcomes.add((library.read_bytes() == b"new", doubted is None))
        assert doubted is not None or library.read_bytes() in (b"new", copies.original.read_bytes())
    assert outcomes == {(False, True), (False, False), (True, True)}


def test_processes_that_build_at_once_build_once(copies: Copies) -> None:
    """Each gets the kernels, and the others wait for the first."""
    cache = copies.cache()
    library = copies.library(cache)
    library.unlink()
    slow = copies.folder / "slow"
    slow.mkdir()
    (slow / "gcc").write_text(f'#!/bin/sh\necho >> {slow}/asked\n/bin/sleep 0.5\nexec {copies.bin}/gcc "$@"\n')
    (slow / "gcc").chmod(0o755)
    running = [Process(cache, str(slow)) for _ in range(4)]
    assert [process.end() for process in running] == [Loaded("kernels")] * 4
    assert (slow / "asked").read_text() == "\n"


def test_processes_that_build_at_once_where_nothing_locks_do_not_disturb_each_other(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library may appear between the first look and the last, and is as good as one's own."""
    monkeypatch.setattr(stored, "_try_lock", lambda descriptor: True)
    cache = copies.cache()
    library = copies.library(cache)
    made = copies.folder / "theirs.so"
    made.write_bytes(copies.original.read_bytes())
    real = build._compile

    def compiled(compiler: str, path: Path) -> object:
        failure = real(compiler, path)
        stored.store(made, library)
        return failure

    library.unlink()
    monkeypatch.setattr(build, "_compile", compiled)
    assert load(cache, str(copies.bin)) == Loaded("kernels")
    assert stored.doubt(library) is None


def test_whoever_waits_too_long_goes_on(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "PATIENCE_S", 0.1)
    cache = copies.cache()
    library = copies.library(cache)
    library.unlink()
    began = time.monotonic()
    with stored.locked(library.parent, 0):
        assert load(cache, str(copies.bin)) == Loaded("kernels")
    assert time.monotonic() - began < 30  # the limit of the processes that a user runs is a minute


PASSING = {
    "a full disk": "echo 'as: /tmp/x.o: No space left on device' >&2; exit 1",
    "a quota": "echo 'cannot write: Disk quota exceeded' >&2; echo 'compilation terminated.' >&2; exit 1",
    "no memory": "echo 'cc1: out of memory allocating 65536 bytes' >&2; exit 1",
    "a compiler whose part was killed": "echo 'gcc: fatal error: Killed signal terminated program cc1' >&2; exit 1",
    "a compiler that was killed": "kill -KILL $$",
    "a compiler that was ended": "kill -TERM $$",
    "a file that grew too large": "kill -XFSZ $$",
    "a compiler that hangs": "exec /bin/sleep 60",
}
LASTING = {
    "a missing header": "echo 'x.c:1: fatal error: omp.h: No such file' >&2; exit 1",
    "an option it does not know": "echo 'gcc: error: unrecognized option -march=native' >&2; exit 1",
    "a compiler that crashes": "kill -SEGV $$",
}


def compiler(folder: Path, body: str) -> Path:
    """A folder whose gcc is a shell script that counts its runs in `asked`."""
    folder.mkdir()
    (folder / "gcc").write_text(f"#!/bin/sh\necho >> {folder}/asked\n{body}\n")
    (folder / "gcc").chmod(0o755)
    return folder


@pytest.mark.parametrize("reason", PASSING)
def test_what_may_pass_is_tried_again_the_next_day(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: Copies, reason: str
) -> None:
    monkeypatch.setattr(build, "COMPILE_S", 0.3 if "hangs" in reason else 60)
    bin_folder = compiler(tmp_path / "bin", PASSING[reason])
    monkeypatch.setenv("PATH", str(bin_folder))
    first = build.library()
    assert first.path is None
    assert first.notice.endswith("; gemma tries again tomorrow")
    assert "\n" not in first.notice
    today = again()
    assert (today.path, today.notice) == (None, "")
    assert first.why in today.why
    assert (bin_folder / "asked").read_text() == "\n"  # once, and not another time without AMX

    note = next(fresh.glob("*.today"))
    yesterday = time.time() - 25 * 3600
    os.utime(note, (yesterday, yesterday))
    assert again().notice
    assert (bin_folder / "asked").read_text() == "\n\n"
    assert not again().notice

    os.utime(note, (yesterday, yesterday))
    monkeypatch.setenv("PATH", str(copies.bin))
    assert again().path


@pytest.mark.parametrize("reason", LASTING)
def test_what_stays_wrong_is_remembered(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    bin_folder = compiler(tmp_path / "bin", LASTING[reason])
    monkeypatch.setenv("PATH", str(bin_folder))
    first = build.library()
    assert first.path is None
    assert first.notice
    assert "tomorrow" not in first.notice
    note = next(fresh.glob("*.txt"))
    os.utime(note, (1, 1))
    later = again()
    assert (later.path, later.notice) == (None, "")
    assert later.why == f"{first.why} (remove {note} to try again)"
    assert (bin_folder / "asked").read_text() == "\n" * len(build.VARIANTS)


def test_a_clock_that_was_wrong_does_not_put_it_off_for_ever(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.mkdir(parents=True, mode=0o700)
    build._remember(fresh / f"{build._name()}.so", build.Failure("the disk was full", passes=True))
    note = next(fresh.glob("*.today"))
    os.utime(note, (time.time() + 10**7, time.time() + 10**7))
    monkeypatch.setenv("PATH", "")
    assert build.library().why == "no C compiler is installed: install gcc or clang"


def test_no_compiler_is_asked_where_the_disk_is_full(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = compiler(tmp_path / "bin", "exit 1")
    monkeypatch.setenv("PATH", str(bin_folder))
    monkeypatch.setattr(build, "SPACE", 1 << 62)
    assert "no disk space is left" in build.library().notice
    assert not (bin_folder / "asked").exists()


def test_the_compiler_leaves_nothing_elsewhere(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own temporary files are where there is space: TMPDIR may be full."""
    bin_folder = compiler(tmp_path / "bin", f"echo $TMPDIR > {tmp_path}/where; exit 1")
    monkeypatch.setenv("PATH", str(bin_folder))
    monkeypatch.setenv("TMPDIR", "/nowhere")
    build.library()
    assert Path((tmp_path / "where").read_text().strip()).is_relative_to(fresh)
    assert not list(fresh.glob(".build-*"))


def test_what_a_killed_build_left_is_removed(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(compiler(tmp_path / "bin", "exit 1")))
    fresh.mkdir(parents=True, mode=0o700)
    old, new = fresh / ".build-old", fresh / ".build-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "half.so").touch()
    os.utime(old, (1, 1))
    build.library()
    assert not old.exists()
    assert new.exists()


def test_a_self_check_that_is_killed_from_outside_says_nothing_about_the_processor(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_CHECK", f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    monkeypatch.setenv("PATH", str(compiler(tmp_path / "bin", "exit 0")))
    assert build.library().notice.endswith("; gemma tries again tomorrow")


def test_a_sound_library_that_cannot_be_loaded_here_is_told(copies: Copies) -> None:
    """As where two systems share a home folder."""
    cache = copies.cache()
    made = copies.folder / "other.so"
    made.write_bytes(b"of another system")
    stored.store(made, copies.library(cache))
    found = load(cache, "")
    assert found.how == "torch"
    assert "the kernels cannot be loaded" in found.notice


def test_no_notice_is_given_where_the_kernels_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_loaded", lambda: (None, "damaged"))
    assert native.notice(torch.device("cpu")) == "damaged"
    assert native.notice(torch.device("cuda")) is None
