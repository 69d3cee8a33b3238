"""Pictures to what the model sees: upright RGB pixels."""

from __future__ import annotations

import hashlib
import logging
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import Image
from gemma_cli.media.files import display_name, open_input

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Parsers that may be entered; Pillow's others (PSD, EPS, FITS, PDF, ...) have the worse record and are never tried."""


_STRIP = 1 << 20  # pixels converted at a time


def read_image(path: str | Path) -> Image:
    """Read the first frame of a picture: rotated according to its EXIF data, with transparency over white. "-" is
    standard input.

    Raises InputError.
    """
    with open_input(path) as file:
        return image_in(file, display_name(path))


def image_in(file: BinaryIO, name: str) -> Image:
    """Read an open file; see `read_image`."""
    try:
        return _decode(file, name)
    except InputError:
        raise
    except Exception as error:  # decoders of damaged files raise what they please, SyntaxError included
        raise InputError(f"{name}: a damaged or cut off picture ({_reason(error)}); copy it again") from None


def _decode(file: BinaryIO, name: str) -> Image:
    import PIL.Image as pillow
    from PIL import UnidentifiedImageError

    from gemma_cli.media.pictures.image_memory import FULL, LIMIT, decoding_memory

    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs to stderr what it then raises
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow refuses only at twice its pixel limit; below that it warns and decodes hundreds of megabytes.
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        try:
            picture = pillow.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            formats = ", ".join(FORMATS)
            raise InputError(f"{name}: not a picture in a supported format ({formats}); convert it to PNG") from None
        except (pillow.DecompressionBombWarning, pillow.DecompressionBombError):
            millions = (pillow.MAX_IMAGE_PIXELS or 0) // 1_000_000
            raise InputError(f"{name}: more than {millions} million pixels; scale it down") from None
        if decoding_memory(picture, file) > LIMIT:
            pixels = f"{picture.width * picture.height / 1e6:.0f} million pixels"
            raise InputError(f"{name}: {picture.format} of {pixels} takes too much memory to decode; scale it down")
        if picture.width * picture.height > FULL:
            picture.draft(None, (picture.width // 2, picture.height // 2))
        if picture.format == "TIFF":
            _silence_libtiff()
        picture.load()
        stored, orientation = _rgb(picture, name), _orientation(picture)
    del picture  # its memory, before the pixels are turned
    return from_pixels(_upright(stored, orientation), name)


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
    """Build an Image of uint8 [height, width, 3]; the digest covers size and pixels."""
    import numpy as np

    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return Image(digest.hexdigest(), name, pixels)


def _orientation(picture: PIL.Image.Image) -> int:
    """The EXIF orientation (Pillow turns TIFF itself and drops the tag); damaged EXIF is no EXIF."""
    from PIL.ExifTags import Base

    try:
        return int(picture.getexif().get(Base.Orientation, 1))
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


def _rgb(picture: PIL.Image.Image, name: str) -> np.ndarray:
    """Return the pixels as uint8 [height, width, 3] over white, at half the width and height above FULL pixels.

    Goes strip by strip: conversions of all of it at once would take several times the memory of the picture.
    """
    import numpy as np

    from gemma_cli.media.pictures.image_memory import FULL

    width, height = picture.size
    factor = 2 if width * height > FULL else 1
    pixels = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(2, _STRIP // width // 2 * 2)  # even, so that halving strips equals halving the entire picture
    for top in range(0, height, rows):
        strip = _over_white(picture.crop((0, top, width, min(top + rows, height))), name)
        part = np.asarray(strip.reduce(factor) if factor > 1 else strip)
        pixels[top // factor : top // factor + len(part)] = part
    return pixels


def _over_white(picture: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Convert to RGB over white; 16-bit grey keeps its high byte, which convert() would clip."""
    import numpy as np
    import PIL.Image as pillow

    if picture.mode.startswith("I;16"):
        picture = pillow.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise InputError(f"{name}: 32 bits per pixel, measurements rather than a picture; convert it to 8 bits")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    return pillow.alpha_composite(pillow.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
