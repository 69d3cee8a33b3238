"""The samples that come with the package: `sample:NAME` names one wherever a file is read."""

from __future__ import annotations

import os
from pathlib import Path

from gemma_cli.core.errors import InputError

SCHEME = "sample:"
FOLDER = Path(__file__).parents[1] / "samples"


def names() -> list[str]:
    """Return the names of all samples, without the scheme."""
    return sorted(file.name for file in FOLDER.iterdir() if file.is_file())


def is_sample(name: str) -> bool:
    """Return whether a name has the scheme of samples; whether there is such a sample, `located` decides."""
    return name.startswith(SCHEME)


def is_file(name: str) -> bool:
    """Return whether a name is that of a file on the disk, or of a sample."""
    return os.path.isfile(name) or (is_sample(name) and name.removeprefix(SCHEME) in names())  # noqa: PTH113 - NUL


def located(name: str) -> str:
    """Return the path of a sample, and any other name as it is. Raises InputError for an unknown sample."""
    if not is_sample(name):
        return name
    wanted = name.removeprefix(SCHEME)
    if wanted not in names():
        raise InputError(f"{name}: unknown sample; choose one of {', '.join(names())}")
    return str(FOLDER / wanted)
