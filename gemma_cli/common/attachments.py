"""Attachments: the one place where a file, an address or standard input becomes a part of a message."""

from __future__ import annotations

from typing import BinaryIO, Literal

from gemma_cli.common.inputs import opened
from gemma_cli.common.text_input import GIVE_ENCODING, text_in
from gemma_cli.core.messages import Part, Text
from gemma_cli.media.files import display_name

Attachable = Literal["image", "audio", "video", "text"]
"""Types of attachments; a PDF becomes text."""


def attachment(name: str, kind: Attachable | None = None, quiet: bool = True, encoding: str | None = None) -> Part:
    """Read what `name` stands for: a path, an http(s) address, or "-" for standard input.

    kind: what it has to be; None recognises it by its content. quiet: show no progress of what is fetched.
    encoding: of a text; None: see `decode`.
    Raises InputError, and UsageError that names the extra that is missing.
    """
    with opened(name, quiet) as file:
        return attachment_in(file, display_name(name), kind, encoding)


def attachment_in(file: BinaryIO, name: str, kind: Attachable | None = None, encoding: str | None = None) -> Part:
    """Read an open file at its beginning; see `attachment`."""
    from gemma_cli.media.recognize import is_pdf, recognize

    found = recognize(file, name) if kind is None else kind
    match "pdf" if found == "text" and is_pdf(file) else found:
        case "image":
            from gemma_cli.media.pictures.image import image_in

            return image_in(file, name)
        case "audio":
            from gemma_cli.media.audio import audio_in

            return audio_in(file, name)
        case "video":
            from gemma_cli.media.video import video_in

            return video_in(file, name)
        case "pdf":
            from gemma_cli.media.pdf import pdf_text

            return document(name, pdf_text(file, name))
        case _:
            return document(name, text_in(file, name, encoding, remedy=GIVE_ENCODING).text)


def document(name: str, text: str) -> Text:
    """Return a text under its name, which is how the model tells several apart."""
    return Text(f"{name}:\n{text.strip()}\n\n")
