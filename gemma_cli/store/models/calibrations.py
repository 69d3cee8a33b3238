"""Calibrations of word times: one small file for each checkpoint, named by its fingerprint.

CACHE/word-times/KEY.json    the model's name, and which heads follow the sound, how late and how closely

A file that is missing, broken or of another version is no loss: word times use the defaults then.
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gemma_cli.core.events import Calibration
from gemma_cli.store import paths
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.models.releases import full_name

VERSION = 1


@dataclass(frozen=True)
class SavedCalibration:
    """A calibration and the name of its model."""

    model: str
    calibration: Calibration
    file: Path


def find(fingerprint: str) -> Calibration | None:
    """Return the calibration of a checkpoint; None where there is none, or nothing identifies the checkpoint."""
    found = _read(_file(fingerprint)) if fingerprint else None
    return found.calibration if found else None


def save(model: str, fingerprint: str, calibration: Calibration) -> None:
    """Save the calibration of a checkpoint in place of an earlier one. Raises GemmaError."""
    values = {"version": VERSION, "model": model, **asdict(calibration)}
    write_whole(_file(fingerprint), json.dumps(values) + "\n")


def saved_calibrations() -> list[SavedCalibration]:
    """Return what is there, by model."""
    files = sorted(_folder().glob("*.json"))
    return sorted(filter(None, map(_read, files)), key=lambda one: (one.model, one.file))


def remove_calibrations(model: str) -> None:
    """Remove the calibrations of a model."""
    for one in saved_calibrations():
        if one.model in (model, full_name(model)):
            with suppress(OSError):
                one.file.unlink()


def described(calibration: Calibration) -> str:
    """Return a calibration in words."""
    heads = ", ".join(map(str, calibration.heads))
    delay = round(1000 * calibration.offset_s)
    return f"heads {heads}; attention {delay} ms after the end of a word; path mass {calibration.mass:.2f}"


def _folder() -> Path:
    return paths.cache_dir() / "word-times"


def _file(fingerprint: str) -> Path:
    return _folder() / f"{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.json"


def _read(file: Path) -> SavedCalibration | None:
    try:
        values = json.loads(read_text(file))
        if values["version"] != VERSION:
            return None
        heads, offset, mass = tuple(values["heads"]), float(values["offset_s"]), float(values["mass"])
        model = str(values["model"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    sound = heads and all(type(head) is int and head >= 0 for head in heads)
    if not sound or not math.isfinite(offset) or abs(offset) > 1 or not 0 < mass <= 1:
        return None
    return SavedCalibration(model, Calibration(heads, offset, mass), file)
