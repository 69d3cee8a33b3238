"""Pictures to what the model sees: upright RGB pixels."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.messages import Frame, Image
from gemma_cli.media.files import display_name, open_input

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Parsers that may be entered; Pillow's others (PSD, EPS, FITS, PDF, ...) have the worse record and are never tried."""

WITH_EXTRA = ("HEIF", "JXL")
"""Parsers that the extra `pictures` brings."""

TURNED = ("TIFF", "HEIF", "JXL")
"""Those that come upright from their parsers; of JPEG XL the file itself says how, and EXIF is to be ignored."""

EXTRA = "pip install 'gemma-cli[pictures]'"

_SUBFILE = 254  # the TIFF tag whose lowest bit marks a smaller copy of another page

MOST_PAGES = 2000
"""Pages of a TIFF file that are looked for."""


@dataclass(frozen=True)
class Picture:
    """A picture as it is read. width, height: its own, upright, in pixels; orientation: as EXIF counts it, from 1.

    page: its number from 1 in a file of several.
    """

    image: Image
    width: int
    height: int
    orientation: int
    page: int | None = None


def read_image(path: str | Path) -> Image:
    """The first frame of a picture: rotated as its EXIF says, transparency over white. "-" is standard input.

    Raises InputError.
    """
    with open_input(path) as file:
        return image_in(file, display_name(path))


def image_in(file: BinaryIO, name: str) -> Image:
    """Read an open file; see `read_image`."""
    return next(pictures_in(file, name)).image


def pictures_in(file: BinaryIO, name: str) -> Iterator[Picture]:
    """Yield the picture in an open file, or the pages of a TIFF file; each is read when it is asked for.

    Raises InputError, and UsageError where a format takes an extra that is not installed.
    """
    with damage(name):
        picture = open_picture(file, name)
    pages = _pages(picture)
    for page in range(pages):
        with damage(name):
            if page:
                picture.seek(page)
                if picture.tag_v2.get(_SUBFILE, 0) & 1:  # type: ignore[attr-defined]
                    continue
            read = _decode(picture, file, name, page + 1 if pages > 1 else None)
        yield read


def _pages(picture: PIL.Image.Image) -> int:
    """How many pages a TIFF file has; where they cannot be counted, so many that reading them comes to the damage."""
    if picture.format != "TIFF":
        return 1
    try:
        return min(MOST_PAGES, int(getattr(picture, "n_frames", 1)))
    except Exception:
        return MOST_PAGES


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an InputError, and its warnings into errors or nothing."""
    import PIL.Image as pillow

    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs to stderr what it then raises
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow refuses only at twice its pixel limit; below that it warns and decodes hundreds of megabytes.
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            yield
    except UsageError:
        raise
    except (pillow.DecompressionBombWarning, pillow.DecompressionBombError):
        millions = (pillow.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise InputError(
            f"{name}: the picture has more than {millions} million pixels; make the picture smaller"
        ) from None
    except Exception as error:  # decoders of damaged files raise what they please, SyntaxError included
        raise InputError(
            f"{name}: the picture is damaged or incomplete ({_reason(error)}); copy the file again"
        ) from None


def open_picture(file: BinaryIO, name: str) -> PIL.Image.Image:
    """Read the header of a picture, inside `damage`."""
    import PIL.Image as pillow
    from PIL import UnidentifiedImageError

    formats = (*FORMATS, *_registered(file, name))
    try:
        return pillow.open(file, formats=formats)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise InputError(f"{name}: not a picture in a supported format ({known}); convert the picture to PNG") from None


def _registered(file: BinaryIO, name: str) -> tuple[str, ...]:
    """The parser of the extra that a file needs, registered. Raises UsageError where it is not installed."""
    head = file.read(32)
    file.seek(0)
    if not (needed := needs_extra(head)):
        return ()
    try:
        if needed == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        else:
            import pillow_jxl  # noqa: F401 - registers itself
    except ImportError:
        called = {"HEIF": "HEIC", "JXL": "JPEG XL"}[needed]
        raise UsageError(
            f"{name}: {called} pictures need an extra package: {EXTRA}; or convert the picture to PNG"
        ) from None
    return (needed,)


def needs_extra(head: bytes) -> str | None:
    """Which parser of WITH_EXTRA a file that begins so takes."""
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JXL"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return None if b"avif" in head or b"avis" in head else "HEIF"
    return None


_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def _decode(picture: PIL.Image.Image, file: BinaryIO, name: str, page: int | None) -> Picture:
    from gemma_cli.media.pictures import colour
    from gemma_cli.media.pictures.image_memory import FULL

    width, height = picture.size
    check_memory(picture, file, name)
    if width * height > FULL:
        picture.draft(None, (width // 2, height // 2))
    if picture.format == "TIFF":
        _silence_libtiff()
    # Loading turns these and drops the tag. The others are loaded first: reading EXIF loads a PNG too, and its error
    # would pass for damaged EXIF.
    stated = _orientation(picture) if picture.format in TURNED else None
    picture.load()
    orientation = stated or _orientation(picture)
    stored = colour.rgb(picture, name)
    if picture.format not in TURNED:
        stored = _upright(stored, orientation)
        width, height = (height, width) if orientation >= 5 else (width, height)
    return Picture(from_pixels(stored, name), width, height, orientation, page)


def check_memory(picture: PIL.Image.Image, file: BinaryIO, name: str) -> None:
    """Raise InputError for a picture, or a page or frame of one, that takes too much memory to decode."""
    import PIL.Image as pillow

    from gemma_cli.media.pictures.image_memory import LIMIT, decoding_memory

    pixels = picture.width * picture.height
    if pillow.MAX_IMAGE_PIXELS and pixels > pillow.MAX_IMAGE_PIXELS:
        raise InputError(
            f"{name}: the picture has more than {pillow.MAX_IMAGE_PIXELS // 1_000_000} "
            "million pixels; make the picture smaller"
        )
    if decoding_memory(picture, file) > LIMIT:
        size = f"{pixels / 1e6:.0f} million pixels"
        raise InputError(
            f"{name}: a {picture.format} picture of {size} needs too much memory; make the picture smaller"
        )


def _silence_libtiff() -> None:
    """Take from libtiff the handlers that write on descriptor 2; Pillow raises what matters all the same."""
    import ctypes

    from PIL import _imaging

    with suppress(AttributeError, OSError):  # a Pillow with libtiff inside itself: its lines stay
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


def from_pixels(pixels: np.ndarray, name: str) -> Image:
    """An Image of uint8 [height, width, 3]; the digest covers size and pixels."""
    return Image(_digest(pixels), name, pixels)


def frame_from_pixels(pixels: np.ndarray, name: str) -> Frame:
    """The same of a frame of a video."""
    return Frame(_digest(pixels), name, pixels)


def _digest(pixels: np.ndarray) -> str:
    import numpy as np

    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _orientation(picture: PIL.Image.Image) -> int:
    """The EXIF orientation; damaged EXIF is no EXIF."""
    from PIL.ExifTags import Base

    try:
        found = picture.info.get("original_orientation") or picture.getexif().get(Base.Orientation, 1)
        return int(found) if int(found) in range(1, 9) else 1
    except Exception:
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels turned from how they are stored to how they are looked at."""
    import numpy as np

    turned = {
        2: lambda: pixels[:, ::-1],
        3: lambda: pixels[::-1, ::-1],
        4: lambda: pixels[::-1],
        5: lambda: pixels.transpose(1, 0, 2),
        6: lambda: np.rot90(pixels, -1),
        7: lambda: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: lambda: np.rot90(pixels),
    }.get(orientation)
    return np.ascontiguousarray(turned()) if turned else pixels


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
