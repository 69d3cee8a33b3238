"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType

from gemma_cli.core.errors import GemmaError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_UNLOCKED_S = 2.0
"""The age from which a temporary file without a lock is abandoned: its program had ample time to lock it."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that no crash, whenever it comes, leaves half of it. Raises GemmaError."""
    write_together({path: text})


def write_together(texts: Mapping[Path, str | bytes]) -> None:
    """Write several files, each completely, and none before all are on the disk. Raises GemmaError."""
    with ExitStack() as unfinished:
        written = [(unfinished.enter_context(_beside(path, text)), path) for path, text in texts.items()]
        for temporary, path in written:
            with _told(path):
                temporary.replace(path)
        for folder in {path.parent for path in texts}:
            sync_folder(folder)


@contextmanager
def _beside(path: Path, text: str | bytes) -> Iterator[Path]:
    """Write a temporary file with that text next to its destination, and remove it if it is not renamed."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".part")
    temporary = Path(name)
    lock = _locked(descriptor)
    try:
        with _told(path), os.fdopen(descriptor, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()
        if lock is not None:
            os.close(lock)


def _prefix(path: Path) -> str:
    return f".{path.name[:100]}."


def _locked(descriptor: int) -> int | None:
    """Lock a file for as long as the returned descriptor is open; None where that cannot be done."""
    if fcntl is None:
        return None
    lock = os.dup(descriptor)
    with suppress(OSError):  # not every network file system locks: there nothing is ever taken for abandoned
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files that killed programs left next to a destination. A program that runs has a lock."""
    if fcntl is None:
        return
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(_prefix(path)) and entry.name.endswith(".part"):
                _remove_unlocked(entry)


def _remove_unlocked(entry: os.DirEntry[str]) -> None:
    assert fcntl
    with suppress(OSError):
        if time.time() - entry.stat(follow_symlinks=False).st_mtime < _UNLOCKED_S:
            return
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(entry.path).unlink()
        finally:
            os.close(descriptor)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GemmaError(f"{path}: the file cannot be written ({error.strerror or error})") from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make the renaming last through a power cut, where folders can be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
