"""Files that contain several sound files end to end: chained Ogg, WAV after WAV, FLAC after FLAC.

Decoders stop at the end of the first file or at a change of format, so each file is found here and read separately.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_PAGE = struct.Struct("<4sBBqIIIB")  # an Ogg page up to the number of its segments
_FLAC = b"fLaC\0\0\0\x22"  # the mark of a file, and the head of the block that has to follow
_BEGINS = 2  # flag of the first page of a stream
_MOST = 10_000
_BLOCK = 1 << 16


def links(file: BinaryIO) -> list[BinaryIO]:
    """The sound files in a file, in order; the file itself where it is one."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"OggS":
        starts = _ogg_chain(file)
    elif head[:4] == b"RIFF" and head[8:] == b"WAVE":
        starts = _wave_files(file, size)
    elif head.startswith(_FLAC):
        starts = _flac_files(file)
    else:
        starts = [0]
    file.seek(0)
    if len(starts) == 1:
        return [file]
    name = str(getattr(file, "name", ""))
    ends = [*starts[1:], size]
    return [io.BufferedReader(Slice(file, start, end, name)) for start, end in zip(starts, ends, strict=True)]


def pages_missing(file: BinaryIO) -> bool:
    """Return whether an Ogg file has lost pages, or part of one."""
    numbers: dict[int, int] = {}
    for page in _pages(file):
        if page.found_at != page.expected_at or page.number not in (0, numbers.get(page.stream, -1) + 1):
            return True
        numbers[page.stream] = page.number
    return False


def ends_inside_a_page(file: BinaryIO) -> bool:
    """Return whether a file is Ogg and truncated: its last page is longer than the rest of the file."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    end = max((page.ends_at for page in _pages(file)), default=0)
    return end > file.seek(0, io.SEEK_END)


def _ogg_chain(file: BinaryIO) -> list[int]:
    """Return the pages that begin a stream after a page that did not: the streams before have ended there."""
    starts: list[int] = []
    beginning = False
    for page in _pages(file):
        if page.begins and not beginning and len(starts) < _MOST:
            starts.append(page.found_at)
        beginning = page.begins
    return starts or [0]


@dataclass(frozen=True)
class _Page:
    expected_at: int
    found_at: int
    ends_at: int
    begins: bool
    stream: int
    number: int


def _pages(file: BinaryIO) -> Iterator[_Page]:
    """Yield the pages of an Ogg file by their headers; other bytes between them are skipped."""
    at = 0
    while True:
        found = _next_page(file, at)
        file.seek(found)
        page = file.read(_PAGE.size)
        if len(page) < _PAGE.size:
            return
        _, _, flags, _, stream, number, _, segments = _PAGE.unpack(page)
        end = found + _PAGE.size + segments + sum(file.read(segments))
        yield _Page(at, found, end, bool(flags & _BEGINS), stream, number)
        at = end


def _next_page(file: BinaryIO, at: int) -> int:
    """Return the position of the next page from `at` on, or the end of the file."""
    file.seek(at)
    if file.read(4) == b"OggS":
        return at
    file.seek(at)
    rest = b""
    while block := file.read(_BLOCK):
        if (place := (rest + block).find(b"OggS")) >= 0:
            return file.tell() - len(block) - len(rest) + place
        rest = block[-3:]
    return file.tell()


def _wave_files(file: BinaryIO, size: int) -> list[int]:
    """Return where a RIFF header follows the announced end of the one before."""
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


def _flac_files(file: BinaryIO) -> list[int]:
    """Return the positions of FLAC's marker followed by the head of its first block."""
    starts = [0]
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while len(starts) < _MOST and (found := data.find(_FLAC, starts[-1] + 1)) > 0:
            starts.append(found)
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
