"""The finished segments of an interrupted transcription, with which the same command resumes.

One file for each (recording, model, options), named by their hash: anything that could change a reply is in the key, so
nothing is taken over from another input or model. Each reply is on disk before the next piece is decoded; a line cut
off by a crash is dropped. The file goes when the transcript is written. Trouble with it never stops a transcription.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from gemma_cli.core.events import Round, Speculation, TimedWord, Timings, Turn, Usage
from gemma_cli.store.atomic_write import sync_folder
from gemma_cli.store.bounded_read import check_regular
from gemma_cli.store.paths import state_dir

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

VERSION = 2
"""Of the file, and of everything that makes a reply and is not in the key."""

_KEPT_DAYS = 30


class Journal:
    """Replies by the digest of the sound they answer. Without a file it remembers nothing.

    trouble: why the file cannot be written, with its folder; "" where it can.
    """

    def __init__(self, file: BinaryIO | None = None, path: Path | None = None, trouble: str = "") -> None:
        self._file, self._path, self.trouble = file, path, trouble
        self._replies: dict[str, Turn] = {}
        if file:
            self._read(file)
        self.resumed = len(self._replies)

    @classmethod
    def open(cls, key: Mapping[str, Any]) -> Journal:
        """The journal of that recording, model and options; a new one if there is none.

        Where another process writes to it, or the state folder cannot be written to (`trouble`), one without a file.
        """
        named = json.dumps({"version": VERSION, **key}, sort_keys=True)
        folder = state_dir() / "unfinished"
        path = folder / f"{hashlib.sha256(named.encode()).hexdigest()}.jsonl"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _forget_old(folder)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
            file = os.fdopen(descriptor, "r+b")
            sync_folder(folder)  # or a power cut takes the file with all that was synced in it
        except OSError as error:
            return cls(trouble=_trouble(folder, error))
        try:
            check_regular(descriptor)
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(file, path)
        except OSError:
            file.close()
            return cls()

    def find(self, digest: str) -> Turn | None:
        """The reply to that sound, if it was finished before."""
        return self._replies.get(digest)

    def add(self, digest: str, turn: Turn) -> None:
        """Keep a reply; it is on disk when this returns."""
        self._replies[digest] = turn
        if self._file:
            line = json.dumps({"digest": digest, "turn": asdict(turn)}).encode() + b"\n"
            try:
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                self.close()
                self.trouble = _trouble(self._path.parent if self._path else state_dir(), error)

    @property
    def lasts(self) -> bool:
        """Whether finished segments are on disk."""
        return self._file is not None and bool(self._replies)

    def finish(self) -> None:
        """Remove the journal: everything is done."""
        if self._path and self._file:
            with suppress(OSError):
                self._path.unlink()
        self.close()

    def close(self) -> None:
        if self._file:
            with suppress(OSError):
                self._file.close()
        self._file = None

    def _read(self, file: BinaryIO) -> None:
        """Read the complete lines and cut off the rest, so that the next line starts on its own."""
        whole = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                self._replies[entry["digest"]] = _turn(entry["turn"])
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        file.seek(whole)
        file.truncate()


def _trouble(folder: Path, error: OSError) -> str:
    return f"{folder}: {error.strerror or error}"


def _turn(fields: dict[str, Any]) -> Turn:
    rounds = [Round(**passed) for passed in fields["speculation"]["rounds"]]
    return Turn(
        text=fields["text"],
        thinking=fields["thinking"],
        finish_reason=fields["finish_reason"],
        usage=Usage(**fields["usage"]),
        timings=Timings(**fields["timings"]),
        speculation=Speculation(rounds),
        avg_logprob=fields["avg_logprob"],
        words=None if fields["words"] is None else tuple(TimedWord(**word) for word in fields["words"]),
    )


def _forget_old(folder: Path) -> None:
    oldest = time.time() - _KEPT_DAYS * 24 * 3600
    for path in folder.glob("*.jsonl"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def fingerprint(folder: Path | None) -> str:
    """Tells one checkpoint from another in the same place: names, sizes and times of its files."""
    if folder is None:
        return ""
    files = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256(repr(files).encode()).hexdigest()
