"""Bounded reads of small files: they never wait for a pipe or read a device without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

LIMIT = 64 << 20
"""Bytes; a device such as /dev/zero has no end."""


class NotRegular(OSError):
    """A pipe or device in place of a file."""


class TooLarge(OSError):
    """The file has more bytes than the limit."""


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """Read a regular file of at most `limit` bytes. Raises OSError, and ValueError for a name that no file can have."""
    with open(path, "rb", opener=_without_blocking) as file:
        check_regular(file.fileno())
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(errno.EFBIG, f"more than {limit >> 20} MiB")
    return content


def read_text(path: Path, limit: int = LIMIT) -> str:
    """Read UTF-8 text as `read_bytes` reads it. Raises UnicodeDecodeError too."""
    return read_bytes(path, limit).decode()


def check_regular(descriptor: int) -> None:
    """Raise OSError unless an open file is a regular one."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise NotRegular(errno.EINVAL, "not a regular file, but a pipe or a device")


def _without_blocking(path: str, flags: int) -> int:
    """Open a FIFO without waiting for its writer; on regular files O_NONBLOCK means nothing."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
