"""Detection of a file's type from its content; its name proves nothing."""

from __future__ import annotations

import codecs
import re
import warnings
from typing import BinaryIO, Literal

from gemma_cli.core.errors import InputError
from gemma_cli.media import container
from gemma_cli.media.pictures.image import FORMATS, needs_extra

Kind = Literal["image", "audio", "video", "pdf", "text"]

_HEAD = 1 << 16  # bytes looked at

_SOUND = re.compile(
    rb"(?:RIFF|RIFX|RF64)....WAVE|riff\x2e\x91\xcf\x11|fLaC|OggS|ID3|\xff[\xe2-\xff]|FORM....AIF[FC]|caff|\.snd|#!AMR",
    re.DOTALL,
)
"""First bytes of sound formats that need no extra: WAV, W64, FLAC, Ogg, MP3, AAC, AIFF, CAF, AU, AMR."""

_VIDEO = re.compile(rb"....ftyp|\x1a\x45\xdf\xa3|(?:RIFF....AVI )|FLV\x01", re.DOTALL)
"""First bytes of video, and of sound in the same containers: MP4, Matroska and WebM, AVI, FLV."""

_REFUSED = {
    re.compile(rb"8BPS|\x00\x00\x01\x00"): "a picture in an unsupported format; convert the picture to PNG",
    re.compile(rb"PK\x03\x04"): (
        "a ZIP archive or an office document; unpack the archive, or export the document as PDF or text"
    ),
    re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!"): "a compressed file; unpack the file first",
    re.compile(rb"\xd0\xcf\x11\xe0"): "an old office document; export the document as PDF or text",
}
"""Unsupported types that are recognised, each with a remedy."""


def recognize(file: BinaryIO, name: str) -> Kind:
    """Return the kind of an open file, which is left at its beginning. Raises InputError for what cannot be attached.

    Raises UsageError where it takes an extra to tell.
    """
    head = file.read(_HEAD)
    file.seek(0)
    for pattern, fact in _REFUSED.items():
        if pattern.match(head):
            raise InputError(f"{name}: {fact}")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if needs_extra(head):
        return "image"
    if _is_text(head):
        return "text"
    kind = _picture(file) or _medium(file, head, name)
    file.seek(0)
    if kind is None and b"\0" in head:
        raise InputError(f"{name}: not a picture, sound, video, PDF or text in a supported format; convert the file")
    return kind or "text"


def is_pdf(file: BinaryIO) -> bool:
    """Return whether an open file is a PDF; its position afterwards is the beginning."""
    head = file.read(1024)
    file.seek(0)
    return b"%PDF-" in head


def _is_text(head: bytes) -> bool:
    """Return whether a file with this beginning is text in UTF-8, or in UTF-16 with a byte order mark."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut in two at the end of the head
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def _picture(file: BinaryIO) -> Kind | None:
    import PIL.Image as pillow
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pillow.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        return None
    except Exception:  # a damaged picture, or one with too many pixels; reading it raises the error
        return "image"
    finally:
        file.seek(0)
    return "image"


def _medium(file: BinaryIO, head: bytes, name: str) -> Kind | None:
    if _SOUND.match(head) and not (head.startswith(b"OggS") and b"theora" in head[:512]):
        return "audio"
    if not container.available():
        return "video" if _VIDEO.match(head) else None
    try:
        return "video" if container.shows_pictures(file, name) else "audio"
    except InputError:
        return "video" if _VIDEO.match(head) else None  # a damaged one; reading it raises the error
