"""Quantized weights that gemma saved, so that later starts need not round them again: what is there, and its removal.

CACHE/weights/KEY.json        a record: model, quantize, size, digest, and the place of each weight
CACHE/weights/KEY.weights     the weights as the kernels read them

Made and read by engines.local.loading.packed. Everything here can be made again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gemma_cli.core.errors import ModelError
from gemma_cli.store import paths
from gemma_cli.store.json_file import INDEX_LIMIT, read_object
from gemma_cli.store.models.releases import full_name

WEIGHTS, RECORD = ".weights", ".json"
"""Suffixes of the two files."""

MAKING = ".making-"
"""Prefix of files that are not finished."""


@dataclass(frozen=True)
class SavedWeights:
    """One file of quantized weights. size: of it in bytes; source: the folder of the checkpoint it was made of."""

    model: str
    quantize: str
    size: int
    file: Path
    source: str


def folder() -> Path:
    """Return the folder of saved weights, whether it exists or not."""
    return paths.cache_dir() / "weights"


def saved_weights() -> list[SavedWeights]:
    """Return what is there, by model and format."""
    found = []
    with suppress(OSError):
        for file in folder().glob(f"*{WEIGHTS}"):
            values = _record(file)
            model, quantize, source = (str(values.get(key, "unknown")) for key in ("model", "quantize", "source"))
            with suppress(OSError):
                found.append(SavedWeights(model, quantize, file.stat().st_size, file, source))
    return sorted(found, key=lambda one: (one.model, one.quantize, one.file))


def remove_saved(model: str) -> int:
    """Remove what was saved of a model; returns the bytes freed. Processes that use it keep it until they end."""
    names = (model, full_name(model))
    place = str(Path(model).expanduser().resolve())
    return sum(remove(one.file) for one in saved_weights() if one.model in names or one.source == place)


def remove(file: Path) -> int:
    """Remove a file of weights and its record; returns the bytes freed."""
    size = 0
    with suppress(OSError):
        size = file.stat().st_size
        file.unlink()
    with suppress(OSError):
        file.with_suffix(RECORD).unlink()
    return size


def _record(file: Path) -> dict[str, object]:
    try:
        return read_object(file.with_suffix(RECORD), INDEX_LIMIT) or {}
    except ModelError:
        return {}
