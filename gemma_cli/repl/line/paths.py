"""Paths as people write them: quoted, with escaped blanks, from the home folder or a variable, patterns, addresses."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gemma_cli.media.samples import is_file

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    "audio": (".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac"),
    "video": (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"),
}
"""Suffixes of media files, for completion and to notice media in a message. What a file is, its content decides."""

Exists = Callable[[str], bool]


def kind_of(path: str) -> str | None:
    """Return the kind of media that a file name promises."""
    suffix = Path(path).suffix.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def paths(text: str, exists: Exists = is_file) -> list[str]:
    """Return the paths that a text consists of, as a shell would read them; or it as one path, if that is a file."""
    whole = expanded(text.strip(), exists)
    if not whole or (len(whole) == 1 and exists(whole[0])):
        return whole
    try:
        words = shlex.split(text)
    except ValueError:
        return whole
    return [path for word in words for path in expanded(word, exists)]


def expanded(word: str, exists: Exists = is_file) -> list[str]:
    """Return the paths that one word stands for: several where it is a pattern. A file of that very name goes first."""
    if not word or exists(word):
        return [word] if word else []
    path = _local(word)
    if path == word:
        path = _home(os.path.expandvars(word))
    if glob.has_magic(path) and not exists(path):
        try:
            # Not recursive: many messages contain **, and it would search all folders below.
            return sorted(glob.glob(path)) or [path]  # noqa: PTH207 - Path.glob takes no absolute ones
        except (OSError, ValueError, re.error):
            pass
    return [path]


def unescaped(word: str) -> str:
    """Return a word as a shell reads it: without its quotes or its backslashes."""
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    return re.sub(r"\\(.)", r"\1", word)


def quoted(path: str) -> str:
    """Return a path as it is written in a message: with its blanks, quotes and backslashes escaped."""
    return re.sub(r"""([\s'"\\])""", r"\\\1", path)


def _local(word: str) -> str:
    """The path in a file:// address of this machine."""
    if not word.lower().startswith("file://"):
        return word
    try:
        parts = urlsplit(word)
    except ValueError:
        return word
    # Only what is in a file's name can follow: # and ? are part of it where a program forgot to escape them.
    rest = word[len("file://") + len(parts.netloc) :]
    return unquote(rest) if parts.netloc in ("", "localhost") else word


def _home(path: str) -> str:
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except (RuntimeError, ValueError):  # no such user, or a NUL
        return path
