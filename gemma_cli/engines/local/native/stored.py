"""A shared library in the cache folder, next to a record of its size and digest.

    private(folder)          creates the folder and checks that nobody else can write to it
    doubt(library)           returns why the library must not be loaded; None if it matches its record
    store(made, library)     moves a library to its name, durably
    locked(folder, seconds)  admits one process at a time
    opened(file)             opens a file that nobody else can have written

Loading a library runs it. A truncated one kills the process with SIGBUS, which cannot be caught, and one that somebody
else wrote runs that person's code. So every byte is checked before `dlopen`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gemma_cli.store.atomic_write import sync_folder

PATIENCE_S = 60.0
"""Seconds to wait for another process that builds; after that both build, which costs only time."""

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Untrusted(Exception):
    """Raised for a file or folder that others could have written; the message has the reason."""


def private(folder: Path) -> bool:
    """Create `folder` for its owner alone. Returns False if others could write to it until now; then it is emptied.

    Raises Untrusted if others own it or can still write to it, OSError if it cannot be created.
    """
    if not os.path.lexists(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Untrusted(
            f"{folder} is {'a symbolic link, which is not safe' if folder.is_symlink() else 'not a folder'}"
        )
    _check_owner(folder, found)
    if not found.st_mode & _OTHERS:
        return True
    with locked(folder, PATIENCE_S):
        if folder.lstat().st_mode & _OTHERS:
            for entry in list(folder.iterdir()):
                remove(entry)
            try:
                folder.chmod(0o700)
            except OSError:
                raise Untrusted(f"other users can write to {folder}") from None
    return False


def doubt(library: Path) -> str | None:
    """Return why `library` must not be loaded: "" if it does not exist, None if it matches its record."""
    try:
        record = json.loads(_read(_record(library)))
        content = _read(library)
        size, digest = record["size"], record["sha256"]
    except FileNotFoundError:
        return ""
    except Untrusted as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "the record of the checksum is damaged"
    if len(content) != size:
        return f"the file has {len(content)} bytes, not {size}"
    return None if hashlib.sha256(content).hexdigest() == digest else "the checksum of the file is wrong"


def store(made: Path, library: Path) -> None:
    """Move `made` to `library` and write its record. After a crash in between, `doubt` rejects the pair."""
    content = made.read_bytes()
    record = _record(made)
    record.write_text(json.dumps({"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}))
    put(((record, _record(library)), (made, library)))


def put(files: Sequence[tuple[Path, Path]]) -> None:
    """Move files to their places in the same folder, durably and in that order."""
    for source, target in files:
        source.chmod(0o600)
        _sync_file(source)
        if target.is_dir() and not target.is_symlink():
            remove(target)
        source.replace(target)
    sync_folder(files[-1][1].parent)


@contextmanager
def locked(folder: Path, patience: float) -> Iterator[bool]:
    """Keep other processes out of the same block, on file systems that have locks.

    Yields False if another process is still in it after `patience` seconds.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + patience
        while not (alone := _try_lock(descriptor)) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield alone
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Return whether to stop waiting: the lock is taken, or locks are not supported."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _record(library: Path) -> Path:
    return library.with_suffix(".json")


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Open a regular file of this user, without following links or waiting for pipes. Raises Untrusted, OSError."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Untrusted("the file is a symbolic link") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Untrusted("the file is not a regular file")
        _check_owner(file, found)
        if found.st_mode & _OTHERS:
            raise Untrusted("other users can write to the file")
        with open(descriptor, "rb", closefd=False) as opened:
            yield opened
    finally:
        os.close(descriptor)


def _read(file: Path) -> bytes:
    """Read a file of this user. Raises Untrusted, OSError."""
    with opened(file) as content:
        return content.read()


def _check_owner(file: Path, found: os.stat_result) -> None:
    """Raise Untrusted unless this user or root owns a file; root could change the user's own files too."""
    if found.st_uid not in (os.geteuid(), 0):
        raise Untrusted(f"{file} belongs to another user (uid {found.st_uid})")


def remove(entry: Path) -> None:
    """Remove a file or a folder, as far as that is possible."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        with suppress(OSError):
            entry.unlink()


def _sync_file(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
