"""The console that commands draw on."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console


def terminal(stream: TextIO) -> Console:
    """A console that takes text literally: no markup, no emoji codes, no highlighting. Honours NO_COLOR and TERM."""
    return Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True)
