"""Sound through libsndfile: WAV, FLAC, Ogg, MP3, AIFF and more, from the first sample to the last it finds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.media.sound.convert import Blocks
from gemma_cli.media.sound.findings import Findings
from gemma_cli.media.sound.links import ends_inside_a_page
from gemma_cli.text.clock import clock

if TYPE_CHECKING:
    import soundfile

_BLOCK = 1 << 18  # samples decoded at a time, over all channels
_UNKNOWN_LENGTH = 0x7F000000  # streaming writers (sox, ffmpeg into a pipe) promise this many bytes or more
_FIRST_FRAME = 4096  # bytes that contain an MP3's header with its length

MAY_MISS_SOUND = frozenset({"MP3", "OGG", "FLAC"})
"""Formats of which libsndfile may stop before the end of the file, or pass over a hole, without a word."""


def readable(file: BinaryIO) -> str | None:
    """Name of the format, where libsndfile can open the file and finds sound in it."""
    import soundfile

    file.seek(0)
    try:
        with _quiet(), soundfile.SoundFile(file) as sound:
            return str(sound.format)
    except soundfile.SoundFileError:
        return None


def blocks(file: BinaryIO, findings: Findings) -> Blocks:
    """Read the file as (rate, float32 [n, channels])."""
    import soundfile

    file.seek(0)
    with _quiet():
        sound = soundfile.SoundFile(file)
    with sound:
        yield from _blocks(sound, file, findings)


def _blocks(sound: soundfile.SoundFile, file: BinaryIO, findings: Findings) -> Blocks:
    import soundfile

    frames = max(1, _BLOCK // sound.channels)
    read = 0
    while True:
        try:
            with _quiet():
                block = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            findings.damaged(read / sound.samplerate, "damaged or cut off")
            return
        if not len(block):
            break
        read += len(block)
        yield sound.samplerate, block
    if ends_inside_a_page(file):
        findings.damaged(read / sound.samplerate, "cut off")
    promised = _promised(sound, file)
    if read < promised:
        findings.damaged(
            read / sound.samplerate, f"cut off (the header gives a length of {clock(promised / sound.samplerate, 1)})"
        )


def _promised(sound: soundfile.SoundFile, file: BinaryIO) -> float:
    """Samples that the header announces; 0 where it only guesses."""
    if sound.format == "MP3" and not _counted(file):
        return 0
    # libsndfile silently shortens a file whose data chunk promises more than there is; only its log shows it.
    shortened = re.search(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    if shortened:
        promised, there = map(int, shortened.groups())
        if there < promised < _UNKNOWN_LENGTH:
            return float(sound.frames) * promised / max(there, 1)
    return float(sound.frames)


def _counted(file: BinaryIO) -> bool:
    """Return whether an MP3 has its number of frames (Xing's header); otherwise its length is a guess from its size."""
    file.seek(0)
    head = file.read(10)
    if head[:3] == b"ID3":
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        file.seek(10 + size)
        head = b""
    head += file.read(_FIRST_FRAME)
    return b"Xing" in head or b"Info" in head


@contextmanager
def _quiet() -> Iterator[None]:
    """mpg123, inside libsndfile, notes what is odd about an MP3 on descriptor 2, past Python and every setting."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed: nothing can be written there
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
