"""JSON and JSON Lines: the strings under the named keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed.markup import MESSAGE
from gemma_cli.text.values.value import MalformedError, value

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_ESCAPED = re.compile(r"\\u00[89a-fA-F]|\\u0[1-9a-fA-F]|\\u[1-9a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED = 8


def json_values(document: str, fields: tuple[str, ...]) -> tuple[list[Passage], list[str]]:
    """Split JSON into passages. Raises MalformedError.

    fields: paths of keys, separated by dots; * stands for one key, ** for any number. Paths skip arrays.
    """
    _check(document)
    chosen = _choice(fields)
    ascii_only = document.isascii() and bool(_ESCAPED.search(document))
    passages: list[Passage] = []
    there: dict[str, None] = {}
    position, found = 0, False
    for start, end, path in _strings(document):
        there[path] = None
        if not chosen(path):
            continue
        found = True
        raw = document[start:end]
        text = json.loads(raw)
        if _SURROGATE.search(text):
            continue
        write = partial(_written, ascii_only=ascii_only, slashes="\\/" in raw)
        passages += [Passage(document[position:start]), value(raw, text, MESSAGE, write)]
        position = end
    if not found:
        known = ", ".join([*list(there)[:_NAMED], *(["..."] if len(there) > _NAMED else [])])
        asked = f"--field {' or '.join(fields)} matches no text" if fields else "no field is given: add --field NAME"
        raise MalformedError(f"{asked}; the file has texts under {known or 'no field'}")
    return [*passages, Passage(document[position:])], []


def _check(document: str) -> None:
    text = document.removeprefix("\ufeff")
    try:
        json.loads(text)
        return
    except RecursionError:
        raise MalformedError("the JSON is nested too deeply; save the text as a .txt file") from None
    except ValueError as error:
        first = error
    for number, line in enumerate(text.split("\n"), 1):
        try:
            json.loads(line or "0") if line.strip() else None
        except (ValueError, RecursionError):
            raise MalformedError(
                f"not valid JSON: {f'{first}' if number == 1 else f'line {number}'}; correct the file"
            ) from None


def _choice(fields: tuple[str, ...]) -> Callable[[str], bool]:
    parts = [re.escape(field).replace(r"\*\*", ".*").replace(r"\*", "[^.]*") for field in fields]
    pattern = re.compile("|".join(f"(?:{part})" for part in parts), re.DOTALL)
    return lambda path: pattern.fullmatch(path) is not None


def _strings(document: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and path of each string value."""
    path: list[str | None] = []  # a key for each open object, None for each array
    previous = ""
    for token in _TOKEN.finditer(document):
        text = token[0]
        if text in "{[":
            path.append("" if text == "{" else None)
        elif text in "}]":
            path.pop()
        elif text[0] == '"' and path and path[-1] is not None and previous in "{,":
            path[-1] = json.loads(text)
        elif text[0] == '"':
            yield token.start(), token.end(), ".".join(key for key in path if key is not None)
        previous = text


def _written(text: str, ascii_only: bool, slashes: bool) -> str:
    written = json.dumps(text, ensure_ascii=ascii_only)
    return written.replace("/", "\\/") if slashes else written
