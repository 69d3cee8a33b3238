"""Empty ranges in the edit list of an MP4's sound track.

ffmpeg follows edit lists, except for an empty edit between two others, during which it plays other sound.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_MOST_HEADER = 1 << 28  # bytes
_EMPTY = -1

Span = tuple[float, float]
"""Begin and end, in seconds of the video."""


def empty_spans(file: BinaryIO) -> dict[int, list[Span]]:
    """Return the empty stretches of each track by its identifier, but for one at its beginning."""
    movie = _movie_header(file)
    try:
        return _empty_spans(movie)
    except (struct.error, IndexError):  # damaged: ffmpeg has the better error
        return {}


def _movie_header(file: BinaryIO) -> bytes:
    """Return the contents of the box `moov`, or nothing without one."""
    size = file.seek(0, 2)
    at = 0
    while at + 16 <= size:
        file.seek(at)
        length, kind, large = struct.unpack(">I4sQ", file.read(16))
        head = 16 if length == 1 else 8
        length = large if length == 1 else length or size - at
        if kind == b"moov" and length <= _MOST_HEADER:
            file.seek(at + head)
            return file.read(length - head)
        if length < head:
            break
        at += length
    return b""


def _empty_spans(movie: bytes) -> dict[int, list[Span]]:
    boxes = list(_boxes(movie))
    scale = next((_scale(body) for kind, body in boxes if kind == b"mvhd"), 0)
    spans: dict[int, list[Span]] = {}
    for kind, body in boxes:
        inner = dict(_boxes(body)) if kind == b"trak" else {}
        if scale and b"tkhd" in inner:
            edits = dict(_boxes(inner.get(b"edts", b""))).get(b"elst", b"")
            spans[_identifier(inner[b"tkhd"])] = _spans(list(_edits(edits)), scale)
    return spans


def _spans(edits: list[tuple[int, int]], scale: int) -> list[Span]:
    spans: list[Span] = []
    at = 0
    for number, (length, media) in enumerate(edits):
        if media == _EMPTY and number:
            spans.append((at / scale, (at + length) / scale))
        at += length
    return spans


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the boxes that follow each other."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length < 8:
            return
        yield kind, data[at + 8 : at + length]
        at += length


def _scale(mvhd: bytes) -> int:
    return int(struct.unpack_from(">I", mvhd, 20 if mvhd[0] else 12)[0])


def _identifier(tkhd: bytes) -> int:
    return int(struct.unpack_from(">I", tkhd, 20 if tkhd[0] else 12)[0])


def _edits(elst: bytes) -> Iterator[tuple[int, int]]:
    """(length in the video's ticks, beginning in the track's ticks or _EMPTY) of each edit."""
    if not elst:
        return
    row = struct.Struct(">QqI" if elst[0] else ">IiI")
    (count,) = struct.unpack_from(">I", elst, 4)
    for at in range(8, min(8 + count * row.size, len(elst) - row.size + 1), row.size):
        length, media, _ = row.unpack_from(elst, at)
        yield length, media
