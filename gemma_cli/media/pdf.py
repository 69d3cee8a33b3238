"""The text of PDF documents, through pypdf (the extra `pdf`)."""

from __future__ import annotations

import logging
from typing import BinaryIO

from gemma_cli.core.errors import InputError, UsageError

EXTRA = "pip install 'gemma-cli[pdf]'"

MOST_TEXT = 8 << 20
"""Characters taken from a document: several times the longest context there is."""


def pdf_text(file: BinaryIO, name: str) -> str:
    """Return the text of all pages, a blank line between two. Raises InputError.

    Raises UsageError where the extra is not installed.
    """
    try:
        import pypdf
    except ImportError:
        raise UsageError(f"{name}: PDF documents need pypdf, which is not installed: {EXTRA}") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it mends in silence is no concern of the user
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError(f"{name}: the PDF is locked with a password; save a copy without a password")
        text = _joined(reader, name)
    except InputError:
        raise
    except Exception as error:  # parsers of damaged files raise what they please, RecursionError included
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{name}: the PDF is damaged or incomplete ({reason}); copy the file again") from None
    if not text:
        raise InputError(f"{name}: the PDF has no text and is perhaps scanned; attach pictures of the pages")
    return text


def _joined(reader: object, name: str) -> str:
    pages: list[str] = []
    there = 0
    for page in reader.pages:  # type: ignore[attr-defined]
        pages.append(page.extract_text().strip())
        there += len(pages[-1])
        if there > MOST_TEXT:
            raise InputError(
                f"{name}: the PDF has more than {MOST_TEXT >> 20} million "
                "characters, too many for every model; split the PDF"
            )
    return "\n\n".join(page for page in pages if page)
