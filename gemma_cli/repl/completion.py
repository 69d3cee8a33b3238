"""Completion of slash commands, their arguments, and paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from gemma_cli.core.errors import GemmaError
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.line.paths import SUFFIXES
from gemma_cli.repl.settings import KNOBS
from gemma_cli.repl.slash.commands import offered
from gemma_cli.views.sanitize import safe_line

_SPECIAL = re.compile(r"""([\s'"\\])""")
MENTIONED = re.compile(r"(?<!\S)@((?:\\.|[^\s\\])*)$")
"""Pattern of an @ and the path typed after it."""
MOST = 200
"""Files of a folder that are offered at most."""


def completes(document: Document) -> bool:
    """Whether what is being typed is offered completions unasked: a command, or a path after an @."""
    return document.text.startswith("/") or bool(MENTIONED.search(document.text_before_cursor))


class ChatCompleter(Completer):
    """Completes lines that begin with a slash, and paths after an @."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if mentioned := MENTIONED.search(text):
            yield from _paths(mentioned[1], ())
            return
        if not text.startswith("/") or "\n" in text:
            return
        name, blank, rest = text[1:].partition(" ")
        commands = offered(self._chat)
        if not blank:
            for known, slash in commands.items():
                if known.startswith(name):
                    text = known if slash.takes.startswith("[") or not slash.takes else f"{known} "
                    yield Completion(text, -len(name), display=f"/{known}", display_meta=slash.says)
        elif name in commands:
            yield from self._argument(name, rest.lstrip())

    def _argument(self, name: str, rest: str) -> Iterator[Completion]:
        if name in ("image", "audio", "video"):
            yield from _paths(rest, SUFFIXES[name])
        elif name in ("attach", "read", "export"):
            yield from _paths(rest, ())
        else:
            yield from _words(rest, self._choices(name))

    def _choices(self, name: str) -> Iterable[str]:
        try:
            match name:
                case "think":
                    return ("on", "off", "auto")
                case "set":
                    return tuple(KNOBS)
                case "help":
                    return tuple(offered(self._chat))
                case "load":
                    return [summary.name for summary in self._chat.store.list()] if self._chat.store else ()
                case "model":
                    return self._chat.outside.models()
                case "drop":
                    return [str(number) for number in range(1, len(self._chat.conversation.staged) + 1)]
        except GemmaError:
            pass  # errors appear when the command runs
        return ()


def _words(typed: str, choices: Iterable[str]) -> Iterator[Completion]:
    for choice in choices:
        if choice.startswith(typed):
            yield Completion(choice, -len(typed), display=safe_line(choice))


def _paths(typed: str, suffixes: tuple[str, ...]) -> Iterator[Completion]:
    """Files that end in one of `suffixes` (all, if there are none) and folders, for the last path of `typed`."""
    start = _last_path(typed)
    written = typed[start:]
    path = re.sub(r"\\(.)", r"\1", written).lstrip("'\"")
    folder, _, begun = path.rpartition("/")
    base = Path(os.path.expanduser(os.path.expandvars(f"{folder}/" if "/" in path else ".")))  # noqa: PTH111 - keeps the slash
    for name, is_folder in _listing(base, begun):
        if is_folder or not suffixes or name.lower().endswith(suffixes):
            shown = _SPECIAL.sub(r"\\\1", name) + "/" * is_folder
            kept = written[: len(written) - len(_SPECIAL.sub(r"\\\1", begun))] if begun else written
            yield Completion(kept + shown, -len(written), display=safe_line(name) + "/" * is_folder)


def _last_path(typed: str) -> int:
    """Return where the last path begins: after the last space that is not escaped."""
    blanks = [match.end() for match in re.finditer(r"(?<!\\)\s", typed)]
    return blanks[-1] if blanks else 0


def _listing(folder: Path, begun: str) -> Iterator[tuple[str, bool]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.is_dir())
                for entry in entries
                if entry.name.startswith(begun) and (begun.startswith(".") or not entry.name.startswith("."))
            )
    except OSError:
        return
    yield from found[:MOST]
