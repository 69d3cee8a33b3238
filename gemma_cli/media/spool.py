"""Temporary files without a name, for what comes through a pipe or from the network."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from gemma_cli.core.errors import GemmaError


def new_spool() -> BinaryIO:
    """Open an empty temporary file that disappears when it is closed. Raises GemmaError."""
    with spooling():
        return tempfile.TemporaryFile()


@contextmanager
def spooled(content: bytes) -> Iterator[BinaryIO]:
    """Yield a temporary file that holds `content`, at its beginning: decoders need a descriptor. Raises GemmaError."""
    with new_spool() as file:
        with spooling():
            file.write(content)
            file.seek(0)
        yield file


@contextmanager
def spooling() -> Iterator[None]:
    """Convert a failure to write a temporary file to a GemmaError that names its folder and a remedy."""
    try:
        yield
    except FileNotFoundError:  # no folder that can be written to: TMPDIR, /tmp, ...
        raise GemmaError("no temporary file can be created: set TMPDIR to a writable folder with free space") from None
    except OSError as error:
        folder = tempfile.gettempdir()
        raise GemmaError(f"{folder}: {error.strerror}; set TMPDIR to a writable folder with free space") from None
