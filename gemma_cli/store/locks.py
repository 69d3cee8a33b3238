"""Locks for open chats, so that a second process that opens the same chat is warned at once.

A lock on one byte of a file stands for a name. The system releases it when the process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class SessionLock:
    """The chat that this process has open, if any. Where there are no locks, every name is free."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._held: int | None = None

    def hold(self, name: str) -> bool:
        """Hold `name` in place of what was held before. False: another process holds it."""
        if fcntl is None:
            return True
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
            place = _place(name)
            if place == self._held:
                return True
            self.release()
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return self._file is None  # the file cannot be opened, or the byte is locked
        except OSError:
            return True
        self._held = place
        return True

    def release(self) -> None:
        """Hold nothing any more."""
        if self._held is not None and self._file is not None and fcntl:
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._held)
        self._held = None

    def close(self) -> None:
        """Hold nothing and close the file."""
        self.release()
        if self._file is not None:
            os.close(self._file)
        self._file = None


def _place(name: str) -> int:
    """Return the byte for a name; two names share one with a probability of one in two thousand million."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:4]) >> 1
