"""Engines with our kernels and without, on one machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gemma_cli.engines.local import native

CAN_BUILD = shutil.which("gcc") is not None

WITHOUT = " without kernels"
"""Ends the name of what is to run as on a machine that has no compiler."""


@contextmanager
def kernels_for(name: str) -> Iterator[str]:
    """`name` without that ending, and while the context lasts, no kernels if it had it."""
    with pytest.MonkeyPatch.context() as patch:
        if name.endswith(WITHOUT):
            patch.setattr(native, "loaded", lambda: None)
        yield name.removesuffix(WITHOUT)
