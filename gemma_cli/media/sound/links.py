"""Files that hold several sound files end to end: chained Ogg, and WAV after WAV.

Decoders stop at the end of the first one, or at a change of its form. So each is found here and read by itself.
"""

from __future__ import annotations

import io
import os
import struct
from typing import BinaryIO

_PAGE = struct.Struct("<4sBBQIIIB")  # an Ogg page up to the number of its segments
_BEGINS = 2  # flag of the first page of a stream
_MOST = 10_000


def links(file: BinaryIO) -> list[BinaryIO]:
    """The sound files in a file, in order; the file itself where it is one."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"OggS":
        starts = _ogg_chain(file, size)
    elif head[:4] == b"RIFF" and head[8:] == b"WAVE":
        starts = _wave_files(file, size)
    else:
        starts = [0]
    file.seek(0)
    if len(starts) == 1:
        return [file]
    name = str(getattr(file, "name", ""))
    ends = [*starts[1:], size]
    return [io.BufferedReader(Slice(file, start, end, name)) for start, end in zip(starts, ends, strict=True)]


def _ogg_chain(file: BinaryIO, size: int) -> list[int]:
    """Where a page begins a stream although the last page did not: there the streams before have ended."""
    starts: list[int] = []
    at, beginning = 0, False
    while at < size and len(starts) < _MOST:
        file.seek(at)
        page = file.read(_PAGE.size)
        if len(page) < _PAGE.size or page[:4] != b"OggS":
            break
        _, _, flags, *_, segments = _PAGE.unpack(page)
        if flags & _BEGINS and not beginning:
            starts.append(at)
        beginning = bool(flags & _BEGINS)
        at += _PAGE.size + segments + sum(file.read(segments))
    return starts or [0]


def _wave_files(file: BinaryIO, size: int) -> list[int]:
    """Where a RIFF header follows the end of what the one before announces."""
    starts = [0]
    while len(starts) < _MOST:
        file.seek(starts[-1] + 4)
        (length,) = struct.unpack("<I", file.read(4))
        following = starts[-1] + 8 + length + length % 2
        file.seek(following)
        head = file.read(12) if following < size else b""
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return starts
        starts.append(following)
    return starts


class Slice(io.RawIOBase):
    """Part of a file as a file of its own, from byte `start` up to `end`."""

    def __init__(self, file: BinaryIO, start: int, end: int, name: str) -> None:
        self._file, self._start, self._end, self.name = file, start, end, name
        self._position = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._position)
        data = self._file.read(min(len(buffer), max(0, self._end - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = max(self._start, base + offset)
        return self._position - self._start

    def tell(self) -> int:
        return self._position - self._start
