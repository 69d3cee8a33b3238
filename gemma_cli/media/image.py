"""Pictures to what the model sees: upright RGB pixels."""

from __future__ import annotations

import hashlib
import logging
import warnings
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


def read_image(path: str | Path) -> Image:
    """The first frame of a picture: rotated as its EXIF says, transparency over white. "-" is standard input.

    Raises InputError.
    """
    name = display_name(path)
    with open_input(path) as file:
        try:
            return _decode(file, name)
        except InputError:
            raise
        except Exception as error:  # decoders of damaged files raise what they please, SyntaxError included
            raise InputError(f"{name}: a damaged or cut off picture ({_reason(error)}); copy it again") from None


def _decode(file: BinaryIO, name: str) -> Image:
    import numpy as np
    import PIL.Image as pillow
    from PIL import UnidentifiedImageError

    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs to stderr what it then raises
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow refuses only at twice its pixel limit; below that it warns and decodes hundreds of megabytes.
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        try:
            picture = pillow.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            formats = ", ".join(FORMATS)
            raise InputError(f"{name}: not a picture in a format read here ({formats}); convert it to PNG") from None
        except (pillow.DecompressionBombWarning, pillow.DecompressionBombError):
            millions = (pillow.MAX_IMAGE_PIXELS or 0) // 1_000_000
            raise InputError(f"{name}: more than {millions} million pixels; scale it down") from None
        picture.load()
        return from_pixels(np.array(_rgb(_upright(picture), name)), name)


def from_pixels(pixels: np.ndarray, name: str) -> Image:
    """An Image of uint8 [height, width, 3]; the digest covers size and pixels."""
    return Image(hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest(), name, pixels)


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Turned as the EXIF orientation says (Pillow turns TIFF itself and drops the tag); damaged EXIF is no EXIF."""
    from PIL.ExifTags import Base
    from PIL.Image import Transpose

    try:
        orientation = picture.getexif().get(Base.Orientation, 1)
    except Exception:
        return picture
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(turns[orientation]) if orientation in turns else picture


def _rgb(picture: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """RGB over white; 16-bit grey keeps its high byte, which convert() would clip."""
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
