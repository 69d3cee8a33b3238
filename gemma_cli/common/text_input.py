"""Text from files and standard input, within a limit."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from gemma_cli.core.errors import InputError
from gemma_cli.media.files import display_name, open_input

MOST_TEXT = 8 << 20
"""Bytes of text read from a file or a pipe: several times the longest context there is."""


def read_text(path: str | Path) -> str:
    """A UTF-8 text file, or standard input for "-". Raises InputError for what is not text, or too much of it."""
    with open_input(path) as file:
        return text_in(file, display_name(path))


def system_prompt(text: str) -> str:
    """Read a system prompt: a text, or @FILE; @@ begins a text with @. Raises InputError."""
    if text.startswith("@@"):
        return text[1:]
    return read_text(Path(text[1:]).expanduser()).strip() if text.startswith("@") else text


def text_in(file: BinaryIO, name: str) -> str:
    """The same of an open file."""
    content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise InputError(f"{name}: more than {MOST_TEXT >> 20} MiB of text; no model reads that much")
    text = as_text(content)
    if text is None:
        raise InputError(f"{name}: not text in UTF-8; convert it: iconv -t UTF-8 FILE")
    return text


def as_text(content: bytes) -> str | None:
    """The text if that is what the bytes are; a NUL, which no text holds, gives binary data away."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
