"""Which library reads a sound file: libsndfile where it reads everything that is there, ffmpeg's otherwise.

Every candidate reads the file from beginning to end; the one that finds more sound is taken. So a damaged or
concatenated file is known for what it is before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media import container
from gemma_cli.media.sound import ffmpeg, libsndfile
from gemma_cli.media.sound.convert import Blocks, mono_16_khz
from gemma_cli.media.sound.findings import Findings
from gemma_cli.media.sound.links import links
from gemma_cli.media.sound.mpeg_frames import frame_seconds
from gemma_cli.text.clock import clock

if TYPE_CHECKING:
    import numpy as np

    Reader = Callable[[Findings], Blocks]

_NEAR_S = 0.1
"""Seconds by which two readings may differ: encoders add some silence, which decoders may leave out."""


_ENCODERS_ADD_S = 0.3
"""Seconds of an MP3's frames that may hold no sound: a header, and silence that encoders put before and behind."""

_HOLE_S = 0.3
"""Seconds of gaps in an Ogg file that matter; libsndfile plays something else there."""


@dataclass(frozen=True)
class Sound:
    """A sound file that was read to its end. length: in samples at 16 kHz.

    seams: where another recording begins in it, in samples at 16 kHz.
    """

    name: str
    channel: int | None
    reader: Reader
    length: int
    findings: Findings
    seams: tuple[int, ...] = ()

    def samples(self) -> Iterator[np.ndarray]:
        """Read it once more, as float32 [n] at 16 kHz."""
        return mono_16_khz(self.reader(Findings()), self.name, Findings(), self.channel)


@dataclass(frozen=True)
class Wanted:
    """The selection from a file. most: samples at 16 kHz after which reading stops with the error `too_long`."""

    channel: int | None = None
    track: str | None = None
    most: float = float("inf")
    too_long: str = ""


class TooLong(InputError):
    """The file has more sound than wanted."""


def examine(file: BinaryIO, name: str, wanted: Wanted) -> Sound:
    """Read a file through, in the way that finds the most sound in it. Raises InputError."""
    found: list[Sound] = []
    unread = False
    for link in links(file):
        try:
            found.append(_best(link, name, wanted))
        except TooLong:
            raise
        except InputError:
            if not found:
                raise
            unread = True
    sound = found[0]
    if len(found) > 1:
        seams = tuple(accumulate(one.length for one in found[:-1]))
        sound = replace(_read_through(_chain([one.reader for one in found]), name, wanted), seams=seams)
    if unread:
        sound.findings.damaged(sound.length / SAMPLE_RATE, "damaged (in one of several joined files)")
    return sound


def _chain(readers: list[Reader]) -> Reader:
    """A reader for sound files that follow each other."""

    def blocks(findings: Findings) -> Blocks:
        seconds = 0.0
        for reader in readers:
            for rate, block in reader(findings.after(seconds)):
                seconds += len(block) / rate
                yield rate, block

    return blocks


def _read_through(reader: Reader, name: str, wanted: Wanted) -> Sound:
    findings = Findings()
    length = 0
    for block in mono_16_khz(reader(findings), name, findings, wanted.channel):
        length += len(block)
        if length > wanted.most:
            raise TooLong(f"{name}: {wanted.too_long}")
    return Sound(name, wanted.channel, reader, length, findings)


def _best(file: BinaryIO, name: str, wanted: Wanted) -> Sound:
    kind = libsndfile.readable(file) if not wanted.track else None
    if kind is None:
        return _read_through(_by_ffmpeg(file, name, wanted), name, wanted)
    sound = _read_through(lambda findings: libsndfile.blocks(file, findings), name, wanted)
    if not container.available():
        _check_all_read(file, kind, sound)
        return sound
    if _reads_all(file, name, kind, sound):
        return sound
    try:
        other = _read_through(_by_ffmpeg(file, name, wanted), name, wanted)
    except InputError:
        return sound
    least = _NEAR_S if sound.findings.damage else -_NEAR_S
    return other if other.length > sound.length + least * SAMPLE_RATE else sound


def _reads_all(file: BinaryIO, name: str, kind: str, sound: Sound) -> bool:
    """Return whether libsndfile read everything, as far as can be known without decoding again."""
    if sound.findings.damage or not sound.length:
        return False
    if kind not in libsndfile.MAY_MISS_SOUND:
        return True
    try:
        seconds, holes = ffmpeg.packet_seconds(file, name)
        missed = seconds > sound.length / SAMPLE_RATE + _NEAR_S or holes > _HOLE_S
        return not missed and not ffmpeg.has_more_than_sound(file, name)
    except InputError:
        return True


def _check_all_read(file: BinaryIO, kind: str, sound: Sound) -> None:
    """Note as damage that an MP3 has more sound than libsndfile reads, which stops at the end of the first of several.

    Several joined Ogg, WAV and FLAC files were parted before.
    """
    read = sound.length / SAMPLE_RATE
    if kind != "MP3" or sound.findings.damage:
        return
    missed = frame_seconds(file) - read
    if missed > _ENCODERS_ADD_S:
        reason = f"{clock(missed, 1)} of sound not read (the file has several recordings)"
        sound.findings.damaged(read, reason, f"to read the entire file: {container.EXTRA}")


def _by_ffmpeg(file: BinaryIO, name: str, wanted: Wanted) -> Reader:
    if not container.available():
        what = f"--track {wanted.track} applies only to videos" if wanted.track else "not sound in a supported format"
        raise InputError(
            f"{name}: {what} (WAV, FLAC, OGG, MP3, AIFF, ...); "
            f"for more formats, {container.EXTRA}, or convert the file: ffmpeg -i FILE out.wav"
        )
    return lambda findings: ffmpeg.blocks(file, name, wanted.track, findings)
