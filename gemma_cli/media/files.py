"""Opening what a user names: a regular file or standard input, never anything that blocks or has no end."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gemma_cli.core.errors import InputError
from gemma_cli.media.samples import located
from gemma_cli.media.spool import new_spool, spooling

STDIN = "-"
_STDIN_LIMIT = 2 << 30  # bytes; it is spooled to disk
_CHUNK = 1 << 20


def display_name(path: str | Path) -> str:
    """Return the name of an input in messages and results."""
    return "standard input" if str(path) == STDIN else str(path)


@contextlib.contextmanager
def open_input(path: str | Path) -> Iterator[BinaryIO]:
    """Open a seekable binary file with a descriptor and at least one byte; "-" is standard input, spooled to disk.

    "sample:NAME" is a sample of the package.
    Decoders get this handle, never the path: ffmpeg and libsndfile treat some paths as more than a file. Raises
    InputError.
    """
    with spooled_stdin() if str(path) == STDIN else _regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise InputError(f"{display_name(path)}: the file is empty (0 bytes); copy or create the file again")
        yield file


def _regular(path: str | Path) -> BinaryIO:
    name = str(path)
    if name.lower().startswith(("http://", "https://")):
        raise InputError(
            f"{name}: this option does not accept web addresses; download the file yourself and give its path"
        )
    try:
        file = open(located(name), "rb", opener=_without_blocking)  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{name}: a folder, not a file; give the names of files in the folder") from None
    except PermissionError:
        raise InputError(f"{name}: permission denied") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{name}: the file cannot be opened ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InputError(
            f"{name}: not a regular file; pipe the data into the command and give - instead of a file name"
        )
    return file


def _without_blocking(path: str, flags: int) -> int:
    """A FIFO without a writer would block in open() for ever; on regular files O_NONBLOCK means nothing."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def spooled_stdin(begun: bytes = b"") -> BinaryIO:
    """Return piped input as a seekable file on disk, at its beginning. Raises InputError.

    begun: what was read of it already.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input is closed: pipe a file into the command, or name a file")
    if sys.stdin.isatty():
        raise InputError("standard input is a terminal: pipe a file into the command, or name a file")
    spool = new_spool()
    try:
        with spooling():
            spool.write(begun)
        while chunk := sys.stdin.buffer.read(_CHUNK):
            if spool.tell() + len(chunk) > _STDIN_LIMIT:
                raise InputError(
                    f"standard input: more than {_STDIN_LIMIT >> 30} GiB "
                    "of data; save the data to a file and name the file"
                )
            with spooling():
                spool.write(chunk)
        with spooling():
            spool.seek(0)
    except BaseException:
        with contextlib.suppress(OSError):  # what could not be written is tried once more
            spool.close()
        raise
    return spool
