"""What a line typed into the chat means; pure, and known without a terminal.

A line is a slash command, files to attach (what a terminal types when a file is dropped on it), or a message. A
message that must begin with a slash begins with two.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    "audio": (".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac"),
    "video": (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"),
}
"""How files of a kind end: for completion, and to tell what was dropped. What a file is, its content decides."""


@dataclass(frozen=True)
class Message:
    text: str


@dataclass(frozen=True)
class Command:
    """name without its slash; rest: everything after it, trimmed."""

    name: str
    rest: str


@dataclass(frozen=True)
class Dropped:
    """Files that were dropped on the terminal: (kind, path) each."""

    files: tuple[tuple[str, str], ...]


LONGEST = 8_192
"""Characters; what is longer was written or pasted, not dropped."""

Line = Message | Command | Dropped

_COMMAND = re.compile(r"/([A-Za-z?][\w-]*)(?:\s+(.*))?", re.DOTALL)


def parse(line: str, exists: Callable[[str], bool] = os.path.isfile) -> Line:
    """What `line` means. `exists` tells whether a path is a file."""
    text = line.strip()
    if text.startswith("//"):
        return Message(text[1:])
    if files := dropped(text, exists):
        return Dropped(files)
    if command := _COMMAND.fullmatch(text):
        return Command(command[1].lower(), (command[2] or "").strip())
    return Message(text)


def dropped(text: str, exists: Callable[[str], bool]) -> tuple[tuple[str, str], ...]:
    """The media files a line consists of, and nothing else; () if there is anything else in it."""
    files = []
    for path in paths(text, exists) if "\n" not in text and len(text) < LONGEST else ():
        kind = kind_of(path)
        if kind is None or not exists(path):
            return ()
        files.append((kind, path))
    return tuple(files)


def kind_of(path: str) -> str | None:
    """The kind of media a file name promises."""
    suffix = Path(path).suffix.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def paths(text: str, exists: Callable[[str], bool] = os.path.isfile) -> list[str]:
    """The paths a user wrote: quoted or with escaped blanks, as a shell has them, or one file name as it is."""
    whole = _home(text.strip().removeprefix("file://"))
    if not whole or exists(whole):
        return [whole] if whole else []
    try:
        words = shlex.split(text)
    except ValueError:
        return [whole]
    return [_home(word.removeprefix("file://")) for word in words]


def _home(path: str) -> str:
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except (RuntimeError, ValueError):  # no such user, or a NUL
        return path


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The command a mistyped one was meant to be."""
    begins = [known for known in names if known.startswith(name)]
    return begins[0] if begins else next(iter(get_close_matches(name, names, 1, 0.5)), None)
