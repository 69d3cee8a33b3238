"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gemma_cli.core.errors import GemmaError


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
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
    temporary = Path(name)
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


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GemmaError(f"{path}: cannot be written ({error.strerror or error})") from None


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
