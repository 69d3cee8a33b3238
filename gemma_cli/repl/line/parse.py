"""The meaning of a line typed into the chat; pure, and known without a terminal.

A line is a slash command, a command for the shell, files to attach (what a terminal types when files are dropped on
it), or a message. A message that must begin with a slash or an exclamation mark begins with two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from gemma_cli.media.samples import is_file
from gemma_cli.repl.line.paths import Exists, kind_of, paths


@dataclass(frozen=True)
class Message:
    text: str


@dataclass(frozen=True)
class Command:
    """name without its slash; rest: everything after it, trimmed."""

    name: str
    rest: str


@dataclass(frozen=True)
class Shell:
    """A command for the user's shell."""

    command: str


@dataclass(frozen=True)
class Dropped:
    """Paths of files that were dropped on the terminal."""

    files: tuple[str, ...]


LONGEST = 8_192
"""Characters; what is longer was written or pasted, not dropped."""

Line = Message | Command | Shell | Dropped

_COMMAND = re.compile(r"/([A-Za-z?][\w-]*)(?:\s+(.*))?", re.DOTALL)


def parse(line: str, exists: Exists = is_file) -> Line:
    """Return what `line` means. `exists` tells whether a path is a file."""
    text = line.strip()
    if text.startswith(("//", "!!")):
        return Message(text[1:])
    if text.startswith("!") and text[1:].strip():
        return Shell(text[1:].strip())
    if files := dropped(text, exists):
        return Dropped(files)
    if command := _COMMAND.fullmatch(text):
        return Command(command[1].lower(), (command[2] or "").strip())
    return Message(text)


def as_typed(text: str) -> str:
    """Return how a message has to be typed: with its first mark doubled where it would be a command."""
    return text[0] + text if text[:1] in ("/", "!") and isinstance(parse(text), Command | Shell) else text


def dropped(text: str, exists: Exists) -> tuple[str, ...]:
    """Return the files that a text consists of, and nothing else; () if there is anything else in it.

    A bare word without a dot or a slash is a word, even where a file has that name.
    """
    files = paths(text, exists) if text and len(text) < LONGEST else []
    return tuple(files) if all(exists(path) and _looks_dropped(path) for path in files) else ()


def _looks_dropped(path: str) -> bool:
    if _COMMAND.fullmatch(path) and not kind_of(path):
        return bool(Path(path).suffix)
    return "/" in path or os.sep in path or bool(Path(path).suffix)


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the command that a mistyped one was meant to be."""
    begins = [known for known in names if known.startswith(name)]
    return begins[0] if begins else next(iter(get_close_matches(name, names, 1, 0.5)), None)
