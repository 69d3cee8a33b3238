"""The list of models on this machine and of models that can be downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gemma_cli.core.errors import GemmaError
from gemma_cli.store.models import checkpoints, hub
from gemma_cli.store.models.releases import DRAFTER, POCKET, RELEASES, download_size, short_name

State = Literal["bundled", "cached", "partial", "absent"]


@dataclass(frozen=True)
class Entry:
    """One checkpoint. size: bytes on disk; download: bytes a pull would take in all; unfinished: bytes of files that
    were not fetched to their end. None where that does not apply.
    """

    name: str
    alias: str | None
    kind: Literal["target", "drafter"]
    state: State
    has_drafter: bool | None  # of a target: its drafter is on disk, complete
    size: int | None = None
    download: int | None = None
    folder: Path | None = None
    unfinished: int | None = None


def catalogue() -> list[Entry]:
    """Pocket, Google's releases with their drafters, then every other Gemma 4 in the cache."""
    cached = {found.name: found for found in hub.gemma_models()}
    names = [name for release in RELEASES for name in (release.name, release.name + DRAFTER)]
    names += [name for name in cached if name not in names]
    return [*_bundled(), *(_entry(name, cached) for name in names)]


def _entry(name: str, cached: dict[str, hub.Cached]) -> Entry:
    found, drafter = cached.get(name), cached.get(name + DRAFTER)
    is_drafter = name.endswith(DRAFTER)
    alias = short_name(name)
    return Entry(
        name=name,
        alias=alias if alias != name else None,
        kind="drafter" if is_drafter else "target",
        state="absent" if not found else "cached" if found.complete else "partial",
        has_drafter=None if is_drafter else bool(drafter and drafter.complete),
        size=found.size if found else None,
        download=download_size(name),
        folder=found.folder if found else None,
        unfinished=found.unfinished if found else None,
    )


def _bundled() -> Iterator[Entry]:
    folders = {}
    for name in (POCKET, POCKET + DRAFTER):
        try:
            folders[name] = checkpoints.locate(name)[1]
        except GemmaError:
            continue
    for name, folder in folders.items():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if name == POCKET:
            yield Entry(name, POCKET, "target", "bundled", POCKET + DRAFTER in folders, size, None, folder)
        else:
            yield Entry(name, None, "drafter", "bundled", None, size, None, folder)
