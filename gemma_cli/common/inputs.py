"""Opening what is heard or read: a file, standard input, or what stands at an address, fetched first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from gemma_cli.media.files import open_input

DELAY = 1.0
"""Seconds before a line about it appears."""


@contextmanager
def opened(name: str, quiet: bool) -> Iterator[BinaryIO]:
    """A seekable binary file with at least one byte. Raises InputError."""
    from gemma_cli.media.fetching.fetch import is_address

    with _fetched(name, quiet) if is_address(name) else open_input(name) as file:
        yield file


def _fetched(address: str, quiet: bool) -> BinaryIO:
    """Download with a progress line on a terminal."""
    from gemma_cli.media.fetching.fetch import fetch

    if quiet:
        return fetch(address)
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import StatusLine

    said = f"{address}: connecting"
    status = StatusLine(terminal(sys.stderr), lambda elapsed: said if elapsed > DELAY else "")

    def tell(there: int, total: int | None) -> None:
        nonlocal said
        said = f"{address}: {there / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{address}: {there / 1e6:.1f} MB"

    status.start()
    try:
        return fetch(address, tell)
    finally:
        status.stop()
