"""The weight files of a checkpoint folder.

FOLDER/model.safetensors.index.json     names the file of each tensor; else
FOLDER/model.safetensors                holds all of them

An index comes from a stranger: what it names lies in the folder, or it is not opened. In the Hugging Face cache files
are links to ../../blobs, which are the folder's own; any other link that leads out of the folder leaves it.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from gemma_cli.core.errors import ModelError
from gemma_cli.store.json_file import INDEX_LIMIT, read_object

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

MOST = 1024
"""Files, all of which are open at once; the largest release has three."""


def weight_files(folder: Path) -> list[Path]:
    """Name the files, whether they are there or not. Raises ModelError for an index that is broken, and for a file that
    lies outside of the folder."""
    index = folder / INDEX
    values = read_object(index, INDEX_LIMIT)
    names = [SINGLE] if values is None else _named(index, values.get("weight_map"))
    for name in names:
        if _leaves(folder, folder / name):
            raise ModelError(
                f"{folder}: {_short(name)} is a link to a file outside the folder; replace the link with the file"
            )
    return [folder / name for name in names]


def _named(index: Path, table: Any) -> list[str]:
    if not isinstance(table, dict) or not table:
        raise ModelError(f"{index}: weight_map must be an object with names of files; download the checkpoint again")
    for tensor, name in table.items():
        if not isinstance(name, str) or not _is_inside(name):
            raise ModelError(
                f"{index}: weight_map.{_short(tensor)} is {_short(repr(name))}, but must name a file in this folder; "
                "download the checkpoint again"
            )
    names = sorted(set(table.values()))
    if len(names) > MOST:
        raise ModelError(
            f"{index}: weight_map names {len(names)} files, more "
            f"than the limit of {MOST}; download the checkpoint again"
        )
    return names


def _is_inside(name: str) -> bool:
    """Return whether a name is that of a file below the folder, on any system."""
    path = PurePosixPath(name)
    plain = name.isprintable() and not any(mark in name for mark in "\\:")
    return plain and 0 < len(name) <= 200 and not path.is_absolute() and ".." not in path.parts and path.name != ""


def _leaves(folder: Path, file: Path) -> bool:
    try:
        home, real = folder.resolve(), file.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return True
    cache = real.parent
    return not (real.is_relative_to(home) or (cache.name == "blobs" and cache.parent.name.startswith("models--")))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
