"""Python's own compiled modules, cut short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gemma_cli.core.errors import GemmaError


@contextmanager
def end_of_file_is_an_error() -> Iterator[None]:
    """Let an EOFError end the command with a message: typer takes it for the end of the input, and is silent.

    A module that was compiled while the disk was full raises it, and no other.
    """
    try:
        yield
    except EOFError as error:
        if "marshal" not in str(error):
            raise RuntimeError(f"EOFError: {error}") from error
        raise GemmaError(
            "a compiled Python module of gemma is incomplete: install "
            "gemma again, or delete the __pycache__ folders of gemma"
        ) from error
