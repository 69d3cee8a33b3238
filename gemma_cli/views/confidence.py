"""Words in the colour of how sure the model is of them, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.text import Text

from gemma_cli.core.events import TimedWord
from gemma_cli.views.console import terminal
from gemma_cli.views.sanitize import safe

_STYLES = ((0.5, "bold red"), (0.9, "yellow"))
"""Colours of words below each probability."""


def coloured(text: str, words: Sequence[TimedWord]) -> Text:
    """Return a text with its unsure words in colour."""
    shown = Text()
    place = 0
    for word in words:
        here = text.find(word.text, place)
        if here < 0:
            continue
        shown.append(safe(text[place:here]))
        style = next((style for limit, style in _STYLES if word.probability < limit), "")
        shown.append(safe(word.text), style)
        place = here + len(word.text)
    shown.append(safe(text[place:]))
    return shown


def write_coloured(text: str, words: Sequence[TimedWord], stream: TextIO) -> None:
    """Print a line of a transcript to a terminal."""
    terminal(stream).print(coloured(text, words), soft_wrap=True)
