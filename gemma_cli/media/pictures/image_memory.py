"""Estimates of the memory that decoding a picture takes, from its header, so that costly pictures are refused."""

from __future__ import annotations

from typing import Any, BinaryIO

LIMIT = 560_000_000
"""Bytes for decoding one picture. Everything else, mostly strips, takes less than 40 MB more."""

FULL = 1 << 25
"""Pixels above which a picture is halved in width and height: the model sees 2.6 million at most."""

_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes per pixel in Pillow's memory, for modes where it is not 4."""


def decoding_memory(picture: Any, file: BinaryIO) -> int:
    """Bytes at the worst moment of reading a Pillow image that was opened from `file` and not loaded yet."""
    pixels: int = picture.width * picture.height
    decoded = pixels * _BYTES.get(picture.mode, 4)
    output = pixels * 3 // (4 if pixels > FULL else 1)
    match picture.format:
        case "WEBP":  # two canvases of the decoder's and the bytes it returns, 4 bytes a pixel each
            return decoded + 12 * pixels
        case "AVIF" | "HEIF" | "JXL":  # planes of up to 16 bits, and the bytes that are made of them, twice
            return decoded + 16 * pixels
        case "JPEG" | "MPO":  # Pillow calls a JPEG with more pictures behind it MPO
            decoded //= 4 if pixels > FULL else 1  # libjpeg halves it as it decodes
            return decoded + max(output, _coefficients(picture, file))
        case "TIFF":
            turned = decoded if picture.tag_v2.get(274, 1) in range(2, 9) else 0  # Pillow turns it as it loads
            return decoded + max(output, _strip(picture), turned)
    return decoded + output


def _coefficients(picture: Any, file: BinaryIO) -> int:
    """Bytes of the coefficients that libjpeg holds of a JPEG whose components do not come in a single scan."""
    if not picture.info.get("progressive") and _single_scan(picture, file):
        return 0
    across = max(layer[1] for layer in picture.layer)
    down = max(layer[2] for layer in picture.layer)
    share = sum(layer[1] * layer[2] for layer in picture.layer) / (across * down)
    return int(2 * share * picture.width * picture.height)


def _single_scan(picture: Any, file: BinaryIO) -> bool:
    """Return whether the first scan has all components; Pillow has just read its header (length, then count)."""
    place = file.tell()
    length = 6 + 2 * picture.layers
    if place < length:
        return False
    file.seek(place - length)
    header = file.read(3)
    file.seek(place)
    return bool(header == length.to_bytes(2, "big") + bytes([picture.layers]))


def _strip(picture: Any) -> int:
    """Bytes of the largest strip or tile, packed and unpacked; uncompressed ones are not held."""
    if not picture.tile or picture.tile[0][0] != "libtiff":
        return 0
    tags = picture.tag_v2
    if 322 in tags:  # tiled: TileWidth, TileLength, TileByteCounts
        width, rows, packed = tags[322], tags.get(323, 0), tags.get(325, ())
    else:  # RowsPerStrip, StripByteCounts
        width, rows, packed = picture.width, min(tags.get(278, picture.height), picture.height), tags.get(279, ())
    bits = sum(tags.get(258, (1,))) if tags.get(284, 1) == 1 else max(tags.get(258, (1,)))
    unpacked = width * rows * max(bits / 8, 4 if tags.get(262) == 6 else 0)  # YCbCr comes as 4 bytes a pixel
    return int(unpacked + max(packed, default=0))
