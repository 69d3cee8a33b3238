"""Files that a message mentions: any file as `@path`, and a picture, sound or video by its bare path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_cli.media.samples import is_file
from gemma_cli.repl.line.parse import LONGEST, dropped
from gemma_cli.repl.line.paths import Exists, expanded, kind_of, quoted, unescaped

_WORD = re.compile(r"""(?<![^\s(\[{<`'"])(?P<at>@?)(?P<word>"[^"\n]+"|'[^'\n]+'|(?:\\.|[^\s\\])+)""")
_PUNCTUATION = ".,;:!?)]}>`'\""
_ABSOLUTE = ("/", "~/", "file://", "$HOME/", "'/", '"/')
_DOCUMENTS = (".txt", ".md", ".pdf", ".csv", ".json", ".html", ".py")


@dataclass(frozen=True)
class Mention:
    """Part of a message, from start to end, that names files. asked: with an @, so they are to be attached.

    paths: none where an @ names a file that is not there, though one was meant.
    """

    start: int
    end: int
    word: str
    paths: tuple[str, ...]
    asked: bool


def mentions(text: str, pasted: Sequence[str] = (), exists: Exists = is_file) -> list[Mention]:
    """Return the files that a typed message mentions, in order. Nothing inside of a text that was pasted is one."""
    if len(text) > LONGEST:
        return []
    return [mention for match in _typed(text, pasted) if (mention := _mention(match, exists))]


def mentioning(line: str, drops: Sequence[str], exists: Exists = is_file) -> str:
    """Return a line that begins with files dropped there, and continues with words, as one that mentions them.

    drops: what a terminal wrote for them.
    """
    for drop in drops:
        words = line.lstrip().removeprefix(drop)
        if words[:1].isspace() and words.strip():
            files = " ".join(f"@{quoted(path)}" for path in dropped(drop, exists))
            return files + words if files else line
    return line


def sent_as_text(text: str, pasted: Sequence[str] = (), exists: Exists = is_file) -> list[str]:
    """Return the absolute paths of files in a typed message that it does not mention: they may be words of it."""
    words = [
        word
        for match in (_typed(text, pasted) if len(text) <= LONGEST else ())
        if not _mention(match, exists)
        for word in _without_punctuation(match["word"])
        if word.startswith(_ABSOLUTE) and any(map(exists, expanded(unescaped(word), exists)))
    ]
    return list(dict.fromkeys(words))


def named(text: str, found: Sequence[Mention]) -> str:
    """Return the message with the names of files in place of their paths, as the model is to read it."""
    for mention in reversed(found):
        names = ", ".join(Path(path).name if kind_of(path) else path for path in mention.paths)
        text = text[: mention.start] + names + text[mention.end :]
    return text


def _typed(text: str, pasted: Sequence[str]) -> Iterator[re.Match[str]]:
    """Yield the words of a text that are in no part of it that was pasted."""
    barred = [(match.start(), match.end()) for part in pasted if part for match in re.finditer(re.escape(part), text)]
    for match in _WORD.finditer(text):
        if not any(start <= match.start() < end for start, end in barred):
            yield match


def _mention(match: re.Match[str], exists: Exists) -> Mention | None:
    asked = bool(match["at"])
    for word in _without_punctuation(match["word"]):
        if not (asked or kind_of(unescaped(word))):
            continue
        found = tuple(path for path in expanded(unescaped(word), exists) if exists(path))
        if found:
            return Mention(match.start(), match.start("word") + len(word), word, found, asked)
    word = next(reversed([*_without_punctuation(match["word"])]))
    if asked and _is_path(unescaped(word)):
        return Mention(match.start(), match.end(), word, (), asked)
    return None


def _without_punctuation(word: str) -> Iterator[str]:
    """The word, then with one mark less at its end each time."""
    yield word
    while word[-1:] in _PUNCTUATION and word[:1] not in "'\"" and len(word) > 1:
        word = word[:-1]
        yield word


def _is_path(word: str) -> bool:
    """Whether a file was meant, though there is none: it ends like one, or the folder it would be in is there.

    Neither is true of names such as @nora, @app.command or @types/node.
    """
    path = expanded(word)[0]
    folder, slash, name = path.rpartition("/")
    if kind_of(path) or path.lower().endswith(_DOCUMENTS):
        return True
    return bool(slash and name) and os.path.isdir(folder or "/")  # noqa: PTH112 - Path.is_dir raises for a NUL
