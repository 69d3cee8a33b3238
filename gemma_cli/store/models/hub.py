"""The contents of the local Hugging Face cache, read from its folders: no network, no import of huggingface_hub.

HUB/models--ORG--NAME/refs/main               the commit that `main` was at the last download
HUB/models--ORG--NAME/snapshots/COMMIT/FILE   links into blobs/; broken while a download is unfinished
"""

from __future__ import annotations

from pathlib import Path

from gemma_cli.core.errors import ModelError
from gemma_cli.core.records import dataclass
from gemma_cli.store.json_file import read_object, read_text
from gemma_cli.store.models.releases import Release
from gemma_cli.store.models.shards import weight_files
from gemma_cli.store.paths import hub_cache


@dataclass(frozen=True)
class Cached:
    """One repository in the cache. size: bytes of the files that are there. model_type: None where unknown.

    unfinished: bytes of files that were not fetched to their end.
    """

    name: str
    folder: Path
    complete: bool
    size: int
    model_type: str | None
    unfinished: int = 0


def repository(name: str) -> Path:
    """The folder of hub id `name` in the cache, whether it exists or not."""
    return hub_cache() / f"models--{name.replace('/', '--')}"


def find(name: str) -> Cached | None:
    """The snapshot of hub id `name` that a download of `main` would give, or the newest."""
    return _in(repository(name), name)


def is_here(release: Release) -> bool:
    """Return whether one of Google's models is in the cache, complete."""
    found = find(release.name)
    return found is not None and found.complete


def gemma_models() -> list[Cached]:
    """Every Gemma 4 checkpoint or drafter in the cache, by name; unfinished ones by the name Google gives them."""
    found = []
    for path in _repositories():
        name = "/".join(path.name.split("--", 2)[1:])
        entry = _in(path, name, unfinished=True)
        if not entry or not (entry.size or entry.unfinished):
            continue
        if (entry.model_type or "").startswith("gemma4") or (not entry.model_type and "/gemma-4" in name.lower()):
            found.append(entry)
    return found


def is_checkpoint(folder: Path) -> bool:
    """Return whether there is a config.json and every weight file in the folder's index."""
    try:
        return (folder / "config.json").is_file() and all(file.is_file() for file in weight_files(folder))
    except (ModelError, OSError):  # OSError: not ours to look into
        return False


def _repositories() -> list[Path]:
    try:
        return sorted(hub_cache().glob("models--*--*"))
    except OSError:  # not ours to look into
        return []


def _in(path: Path, name: str, unfinished: bool = False) -> Cached | None:
    """Describe a repository's folder; None where nothing of it can be read, or, unless `unfinished` counts, no snapshot
    is there."""
    try:
        folder = _snapshot(path) or (path / "snapshots" if unfinished else None)
        return _describe(name, folder) if folder else None
    except OSError:
        return None


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _describe(name: str, folder: Path) -> Cached:
    try:
        model_type = (read_object(folder / "config.json") or {}).get("model_type")
    except ModelError:
        model_type = None
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    known = model_type if isinstance(model_type, str) else None
    unfinished = sum(size_of(file) for file in repository(name).glob("blobs/*.incomplete"))
    return Cached(name, folder, is_checkpoint(folder), size, known, unfinished)


def _snapshot(repository: Path) -> Path | None:
    try:
        main = repository / "snapshots" / (read_text(repository / "refs" / "main", 1 << 10) or "").strip()
        if main.name != "snapshots" and main.is_dir():
            return main
    except (OSError, ValueError, ModelError):
        pass
    snapshots = [folder for folder in repository.glob("snapshots/*") if folder.is_dir()]
    return max(snapshots, key=lambda folder: folder.stat().st_mtime, default=None)
