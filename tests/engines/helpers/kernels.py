"""Engines with our kernels and without, on one machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gemma_cli.engines.local import native
from gemma_cli.engines.local.native import build

CAN_BUILD = shutil.which("gcc") is not None

WITHOUT = " without kernels"
"""Ends the name of what is to run as on a machine that has no compiler."""


def copy_kernels(cache: Path) -> None:
    """Copy the built kernels into the cache folder `cache`: they are compiled once, not in every home of the tests."""
    built = build.library().path
    if built:
        folder = cache / "gemma-cli" / built.parent.name
        folder.mkdir(parents=True, mode=0o700)
        for file in built.parent.glob(f"{built.stem}*"):
            shutil.copy2(file, folder)


@contextmanager
def kernels_for(name: str) -> Iterator[str]:
    """`name` without that ending, and while the context lasts, no kernels if it had it."""
    with pytest.MonkeyPatch.context() as patch:
        if name.endswith(WITHOUT):
            patch.setattr(native, "loaded", lambda: None)
        yield name.removesuffix(WITHOUT)
