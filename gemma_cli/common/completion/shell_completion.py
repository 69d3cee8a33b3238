"""Completion in a shell: what may come next on a command line.

A shell asks at every press of a key, so nothing heavy is imported: the commands are read from a file that is written
when the first completion is asked for, and again after every change of the program.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gemma_cli import __version__
from gemma_cli.common.completion import offered_names
from gemma_cli.core.errors import GemmaError

Offered = list[tuple[str, str]] | None
"""Words with what each means; None: the names of files."""

NAMES: Mapping[str, Callable[[], Iterable[str]]] = {
    "models": offered_names.models,
    "releases": offered_names.releases,
    "devices": offered_names.devices,
    "presets": offered_names.presets,
    "sessions": offered_names.sessions,
    "languages": offered_names.languages,
    "settings": offered_names.setting_names,
}
FILES = ":files"
"""The reply that makes a shell offer file names."""


def answer(shell: str, words: Sequence[str], describe: Callable[[], dict[str, Any]]) -> None:
    """Print what may stand in place of the last of `words`, those after `gemma`; describe: makes the command tree."""
    try:
        joined = _rejoined(words) if shell == "bash" else list(words)
        offered = complete(_tree(describe), joined)
    except Exception:  # a message in the middle of a line that is being typed helps nobody
        return
    if offered is None:
        print(FILES)
        return
    cut = _before_last_break(joined[-1]) if shell == "bash" and joined else 0
    for word, about in offered:
        if not word.isprintable():
            continue
        if shell == "bash":
            print(_escaped(word)[cut:])
        else:
            print(f"{word}\t{' '.join(about.split())}" if about else word)


def complete(tree: Mapping[str, Any], words: Sequence[str]) -> Offered:
    """Return the words that can complete the last of `words`."""
    *before, typed = words or [""]
    node, place, awaited, only_arguments = tree, 0, None, False
    for word in before:
        if awaited:
            awaited = None
        elif only_arguments or not word.startswith("-") or word == "-":
            if not only_arguments and word in node["commands"]:
                node, place = node["commands"][word], 0
            else:
                place += 1
        elif word == "--":
            only_arguments = True
        elif "=" not in word and (option := _option(node, word)) and option["type"] != "flag":
            awaited = option
    if awaited:
        return _values(awaited, typed)
    if typed.startswith("-") and not only_arguments:
        flag, equals, value = typed.partition("=")
        option = _option(node, flag)
        if not equals:
            return [
                (each, option["help"])
                for option in node["options"]
                for each in option["flags"]
                if each.startswith(typed) and (len(each) > 2 or typed == "-" or each == typed)
            ]
        found = _values(option, value) if option else []
        return None if found is None else [(f"{flag}={word}", about) for word, about in found]
    if node["commands"] and place == 0:
        return [(name, below["help"]) for name, below in node["commands"].items() if name.startswith(typed)]
    arguments = node["arguments"]
    at = min(place, len(arguments) - 1)
    if not arguments or (place > at and not arguments[at]["repeatable"]):
        return []
    if arguments[at]["names"] == "commands":
        return [(name, below["help"]) for name, below in tree["commands"].items() if name.startswith(typed)]
    return _values(arguments[at], typed) if at == 0 else None


def _option(node: Mapping[str, Any], flag: str) -> Mapping[str, Any] | None:
    return next((option for option in node["options"] if flag in option["flags"]), None)


def _values(described: Mapping[str, Any], typed: str) -> Offered:
    names = described["names"]
    if not (names or described.get("values")):
        return None
    words = [*described.get("values", ()), *(NAMES[names]() if names else ())]
    return [(word, "") for word in dict.fromkeys(words) if word.lower().startswith(typed.lower())]


def _tree(describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The commands, as they were found before or are found now."""
    from gemma_cli.store.atomic_write import write_whole
    from gemma_cli.store.paths import cache_dir

    path, key = cache_dir() / "commands.json", _key()
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key:
            tree: dict[str, Any] = kept["tree"]
            return tree
    except (OSError, ValueError, KeyError, TypeError):
        pass
    made = describe()
    with contextlib.suppress(GemmaError):
        write_whole(path, json.dumps({"key": key, "tree": made}))
    return made


def _key() -> str:
    """Changes with the program."""
    package = Path(__file__).parents[2]
    changed = max(
        entry.stat().st_mtime_ns
        for folder in ("commands", "common", "core", "speech", ".")
        for entry in os.scandir(package / folder)
        if entry.name.endswith(".py")
    )
    return f"{__version__} {package} {changed}"


# --- bash, which parts words at = and :, and wants them as they are typed -------------------------------------------


def _rejoined(words: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for word in words:
        if joined and (word in ("=", ":") or joined[-1].endswith(("=", ":"))):
            joined[-1] += word
        else:
            joined.append(word)
    return [word.replace("\\", "") for word in joined]


def _before_last_break(typed: str) -> int:
    return max(typed.rfind("="), typed.rfind(":")) + 1


def _escaped(word: str) -> str:
    return "".join(f"\\{letter}" if letter in " '\"\\()&;<>|$`*?[]#~!" else letter for letter in word)
