"""A disk that forgets at a power cut what was not synced: contents by file, names by folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Files = dict[Path, bytes]


class PowerCut(BaseException):
    """The machine stops here."""


class LosingDisk:
    """A folder whose content is on the disk to begin with. Later writes last once they are synced.

    cut: the call that writes, renames or syncs at which the power goes, counted from 1; None: it stays on.
    """

    def __init__(self, folder: Path, cut: int | None = None) -> None:
        self.folder, self.cut = folder, cut
        self._held: list[int] = []  # else the number of a file that is gone would be given to another
        self._contents: dict[int, bytes] = {}
        self._names = self._now()
        for path in self._names:
            self._sync_file(os.open(path, os.O_RDONLY))
        self._calls = 0
        self.survivors: list[Files] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch the calls inside. Afterwards `survivors` are what may be on the disk, at the cut or at the end."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "rename"):
                patch.setattr(os, name, self._counted(getattr(os, name)))
            patch.setattr(os, "fsync", self._counted(self._fsync))
            try:
                yield
                self.survivors = self._after_a_cut()
            except PowerCut:
                pass
            finally:
                for descriptor in self._held:
                    os.close(descriptor)

    def _counted(self, call: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: Any, **named: Any) -> None:
            self._calls += 1
            if self._calls == self.cut:
                self.survivors = self._after_a_cut()
                raise PowerCut
            call(*arguments, **named)

        return counted

    def _fsync(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISDIR(found.st_mode):
            self._sync_file(os.dup(descriptor))
            return
        folders = [folder for folder in (self.folder, *self.folder.rglob("*")) if folder.is_dir()]
        (folder,) = (folder for folder in folders if folder.stat().st_ino == found.st_ino)
        others = {path: number for path, number in self._names.items() if path.parent != folder}
        self._names = others | {path: number for path, number in self._now().items() if path.parent == folder}

    def _sync_file(self, descriptor: int) -> None:
        self._held.append(descriptor)
        found = os.fstat(descriptor)
        path = next(path for path, number in self._now().items() if number == found.st_ino)
        self._contents[found.st_ino] = path.read_bytes()

    def _now(self) -> dict[Path, int]:
        return {path: path.stat().st_ino for path in self.folder.rglob("*") if path.is_file()}

    def _after_a_cut(self) -> list[Files]:
        """Names as they were synced last and as they are now: the disk may have got so far by itself. What was not
        synced of a content is lost."""
        return [
            {path: self._contents.get(number, b"") for path, number in names.items()}
            for names in (self._names, self._now())
        ]


def every_cut(folder: Path, prepare: Callable[[], None], work: Callable[[], None]) -> Iterator[tuple[bool, Files]]:
    """What may survive a power cut at each step of `work`, and after it: (whether it had ended, files)."""
    for cut in range(1, 100):
        prepare()
        disk = LosingDisk(folder, cut)
        with disk.running():
            work()
        ended = disk._calls < cut
        for files in disk.survivors:
            yield ended, files
        if ended:
            return
    raise AssertionError("it never ends")
