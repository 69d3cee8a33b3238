"""Text from files and standard input, within a limit."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from gemma_cli.common.notices import notice
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media.files import display_name, open_input
from gemma_cli.text.encodings import Encoded, bad_bytes, decode, kind_of_binary, known_encoding

MOST_TEXT = 8 << 20
"""Bytes of text read from a file or a pipe: several times the longest context there is."""

CONVERT = "convert the text to UTF-8"
"""The remedy for a wrong encoding where none can be given."""

GIVE_ENCODING = "give --encoding NAME"
"""The remedy for a wrong encoding where one can be given."""


def read_text(path: str | Path, encoding: str | None = None) -> str:
    """Read a text file, or standard input for "-". Raises InputError for what is not text, or too much of it."""
    with open_input(path) as file:
        return text_in(file, display_name(path), encoding).text


def system_prompt(text: str) -> str:
    """Read a system prompt: a text, or @FILE; @@ begins a text with @. Raises InputError."""
    if text.startswith("@@"):
        return text[1:]
    return read_text(Path(text[1:]).expanduser()).strip() if text.startswith("@") else text


def text_in(
    file: BinaryIO, name: str, encoding: str | None = None, language: str | None = None, remedy: str = CONVERT
) -> Encoded:
    """Read an open text file; a detected encoding is reported on stderr. Raises InputError.

    language: the code of the language it is in, if it is known, which helps detection. remedy: for a wrong encoding.
    """
    content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise InputError(
            f"{name}: the text is larger than {MOST_TEXT >> 20} MiB, too long for every model; split the text"
        )
    text = decode(content, encoding, language)
    if text is None:
        raise InputError(f"{name}: {_no_text(content, encoding, remedy)}")
    if text.detected:
        notice(f"{name}: the text is not UTF-8 and was read as {text.encoding}; if the encoding is wrong, {remedy}")
    return text


def checked_encoding(encoding: str | None) -> str | None:
    """Return the name of an encoding. Raises UsageError if Python does not know it."""
    if encoding is not None and not known_encoding(encoding):
        raise UsageError(
            f"--encoding {encoding}: unknown encoding; known encodings "
            "are, for example, utf-8, utf-16, cp1252, cp1251 and shift_jis"
        )
    return encoding


def _no_text(content: bytes, encoding: str | None, remedy: str) -> str:
    if kind := kind_of_binary(content):
        return f"not a text but {kind[0]}; {kind[1]}"
    if encoding is not None:
        return f"not a text in {encoding}; give another --encoding, or leave out --encoding to detect the encoding"
    if bad := bad_bytes(content):
        more = f" and {bad.count - 1:,} more" if bad.count > 1 else ""
        return (
            f"not valid UTF-8: byte 0x{bad.byte:02x} at offset {bad.offset:,} (line {bad.line:,}){more}; "
            f"remove invalid bytes with iconv -c -f UTF-8, or if the text has another encoding, {remedy}"
        )
    return f"not a text in any known encoding; save the text as UTF-8, or {remedy}"


def as_text(content: bytes) -> str | None:
    """Decode UTF-8; None if the bytes are not that, or have a NUL, which no text has."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
