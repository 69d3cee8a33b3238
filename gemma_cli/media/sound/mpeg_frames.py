"""MPEG sound measured by the headers of its frames, without decoding it."""

from __future__ import annotations

import mmap
from typing import BinaryIO

_RATES = (44_100, 48_000, 32_000)
"""Hz in MPEG 1; half of that in MPEG 2, a quarter in MPEG 2.5."""

_DIVISORS = {3: 1, 2: 2, 0: 4}
_KILOBITS = {
    (True, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Rates of frames, by whether they are MPEG 1 and by the two bits of the header that give the layer."""


def frame_seconds(file: BinaryIO) -> float:
    """Return the duration in seconds of an MP3's complete frames. Tags and what is no frame do not count."""
    seconds, at, in_step = 0.0, 0, True
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while at + 4 <= len(data):
            if tag := _tag(data[at : at + 10]):
                at += tag
                continue
            frame = _frame(data[at : at + 4])
            if frame and at + frame[0] <= len(data) and (in_step or _follows(data, at + frame[0])):
                at, seconds, in_step = at + frame[0], seconds + frame[1], True
            else:
                at, in_step = data.find(b"\xff", at + 1), False
                if at < 0:
                    break
    return seconds


def _follows(data: mmap.mmap, at: int) -> bool:
    """Return whether a frame, a tag or the end of the file is there: after damage, one header alone proves nothing."""
    return at == len(data) or bool(_frame(data[at : at + 4]) or _tag(data[at : at + 10]))


def _tag(header: bytes) -> int:
    """Return the size in bytes of the ID3 tag at this position, or 0."""
    if header[:3] == b"TAG":
        return 128
    if header[:3] != b"ID3" or len(header) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))


def _frame(header: bytes) -> tuple[int, float] | None:
    """Return the bytes and the seconds of the frame at this position, or None."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    kilobits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 0 or not 0 < kilobits < 15 or rate == 3:
        return None
    hertz = _RATES[rate] // _DIVISORS[version]
    bits = _KILOBITS[version == 3, layer][kilobits] * 1000
    if layer == 3:
        return (12 * bits // hertz + padding) * 4, 384 / hertz
    samples = 576 if layer == 1 and version != 3 else 1152
    return samples // 8 * bits // hertz + padding, samples / hertz
