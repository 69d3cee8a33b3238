"""Files of a checkpoint that hold JSON or text. They come from strangers, so they are read within bounds.

read_object(path) -> dict | None    None: no such file. ModelError: anything but a regular file with one JSON object
read_text(path, limit)              the same for text
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from gemma_cli.core.errors import ModelError
from gemma_cli.store import bounded_read
from gemma_cli.store.bounded_read import NotRegular, TooLarge

LIMIT = 4 << 20
"""Bytes of a JSON file. Configurations have some ten thousand; what Python makes of the worst file of this size takes
120 MB."""

INDEX_LIMIT = 2 * LIMIT
"""Bytes of an index, which names every tensor: enough for 80,000 of them, ten times as many as any release has."""

DEEPEST = 64
"""Levels of nesting. Everything that walks a configuration may use recursion up to here."""

_DIGITS = 40
"""Digits of a whole number. Longer ones are read as floats: Python's own limit would refuse the file as a whole."""


def read_object(path: Path, limit: int = LIMIT) -> dict[str, Any] | None:
    """Read the JSON object in a file of at most `limit` bytes; None if there is no such file.

    Raises ModelError. A key that occurs twice in an object is refused: readers differ in which of the two they take.
    """
    text = read_text(path, limit)
    if text is None:
        return None
    try:
        values = json.loads(text, object_pairs_hook=_unique, parse_int=_whole)
    except RecursionError:
        raise _refused(path, f"is nested more than {DEEPEST} levels deep") from None
    except ValueError as error:
        raise _refused(path, f"is not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise _refused(path, "has no JSON object")
    if _is_deeper(values, DEEPEST):
        raise _refused(path, f"is nested more than {DEEPEST} levels deep")
    return values


def read_text(path: Path, limit: int) -> str | None:
    """Read a UTF-8 file of at most `limit` bytes; None if there is no such file. Raises ModelError."""
    content = read_bytes(path, limit)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise _refused(path, "is not UTF-8 text") from None


def read_bytes(path: Path, limit: int) -> bytes | None:
    """Read a regular file of at most `limit` bytes; None if there is no such file. Raises ModelError."""
    try:
        return bounded_read.read_bytes(path, limit)
    except FileNotFoundError:
        return None
    except TooLarge as error:
        raise _refused(path, f"has {error.strerror}") from None
    except NotRegular as error:
        raise _refused(path, f"is {error.strerror}") from None
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # a name no file can have
        raise _refused(path, f"cannot be read ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice[:60]!r} occurs twice in an object")
    return values


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _is_deeper(values: Any, most: int) -> bool:
    """Return whether containers are nested more than `most` levels deep; without recursion."""
    level = [values]
    for _ in range(most):
        inner = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in inner if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _refused(path: Path, fact: str) -> ModelError:
    return ModelError(f"{path}: the file {fact}; download the checkpoint again")
