"""Reading small files in places that are known beforehand, whatever lies there: a pipe would be waited for for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

LIMIT = 64 << 20
"""Bytes; a device such as /dev/zero has no end."""


def read_text(path: Path) -> str:
    """The UTF-8 text of a regular file. Raises OSError, UnicodeDecodeError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        check_regular(descriptor)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(content) > LIMIT:
        raise OSError(errno.EFBIG, f"more than {LIMIT >> 20} MiB")
    return content.decode("utf-8")


def check_regular(descriptor: int) -> None:
    """Raise OSError unless an open file is a regular one."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe or device, not a regular file")
