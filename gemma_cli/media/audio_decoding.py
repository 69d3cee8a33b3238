"""Sound files to mono float32 at 16 kHz, as a stream of blocks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media import container

if TYPE_CHECKING:
    import numpy as np
    import soundfile

_BLOCK = 1 << 18  # samples decoded at a time, over all channels
_RATES = range(1_000, 1_000_001)
_UNKNOWN_LENGTH = 0x7F000000  # streaming writers (sox, ffmpeg into a pipe) promise this many bytes or more

Blocks = Iterator[tuple[int, "np.ndarray"]]
"""(sample rate, float32 [n, channels]), the rate the same throughout."""


def mono_16_khz(file: BinaryIO, name: str, channel: int | None = None) -> Iterator[np.ndarray]:
    """The file's samples as float32 [n] in [-1, 1] at SAMPLE_RATE.

    channel: the only one to take, from 1; with None they are mixed down by their mean. Raises InputError.
    """
    return converted(_decoded(file, name), name, channel)


def converted(blocks: Blocks, name: str, channel: int | None = None) -> Iterator[np.ndarray]:
    """The same of blocks that come from anywhere, each as soon as it comes."""
    import numpy as np
    import soxr  # type: ignore[import-untyped]

    resampler = None
    seconds = 0.0
    for rate, channels in blocks:
        block = _mixed(channels, channel, name)
        if rate not in _RATES:
            raise InputError(f"{name}: a sample rate of {rate} Hz; 1 kHz to 1 MHz can be read")
        if not np.isfinite(block).all():
            raise InputError(f"{name}: samples after {seconds:.1f} s are not numbers; export it again")
        seconds += len(block) / rate
        if rate != SAMPLE_RATE:
            resampler = resampler or soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            block = resampler.resample_chunk(block)
        yield np.clip(block, -1.0, 1.0)
    if resampler:
        yield np.clip(resampler.resample_chunk(np.empty(0, np.float32), last=True), -1.0, 1.0)


def _mixed(channels: np.ndarray, channel: int | None, name: str) -> np.ndarray:
    import numpy as np

    if channel is None:
        mean: np.ndarray = channels.mean(axis=1, dtype=np.float32)
        return mean
    there = channels.shape[1]
    if channel > there:
        raise InputError(f"{name}: has {there} channel{'s' if there > 1 else ''}; there is no --channel {channel}")
    return np.ascontiguousarray(channels[:, channel - 1])


def _decoded(file: BinaryIO, name: str) -> Blocks:
    import soundfile

    try:
        with _quiet():
            sound = soundfile.SoundFile(file)
    except soundfile.SoundFileError:
        yield from _with_ffmpeg(file, name)
        return
    with sound:
        _check_header(sound, name)
        yield from _with_libsndfile(sound, name)


def _with_libsndfile(sound: soundfile.SoundFile, name: str) -> Blocks:
    import soundfile

    frames = max(1, _BLOCK // sound.channels)
    read = 0
    while True:
        try:
            with _quiet():
                block = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            seconds = read / sound.samplerate
            raise InputError(f"{name}: damaged or cut off after {seconds:.1f} s; copy it again") from None
        if not len(block):
            break
        read += len(block)
        yield sound.samplerate, block
    # An MP3's length is an estimate where it has no Xing header, so only the other formats can be held to theirs.
    if read < sound.frames and sound.format != "MP3":
        raise _cut_off(name, promised=sound.frames / sound.samplerate, there=read / sound.samplerate)


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


def _with_ffmpeg(file: BinaryIO, name: str) -> Blocks:
    if not container.available():
        raise InputError(
            f"{name}: not sound in a format read here (WAV, FLAC, OGG, MP3, AIFF, ...); "
            f"{container.EXTRA} reads more, or convert it: ffmpeg -i FILE out.wav"
        )
    file.seek(0)
    with container.open_container(file, name) as opened:
        yield from container.sound_blocks(opened)


def _check_header(sound: soundfile.SoundFile, name: str) -> None:
    """libsndfile quietly shortens a file whose data chunk promises more than is there; only its log says so."""
    shortened = re.search(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    if shortened:
        promised, there = map(int, shortened.groups())
        if there < promised < _UNKNOWN_LENGTH:
            seconds = sound.frames / sound.samplerate
            raise _cut_off(name, promised=seconds * promised / max(there, 1), there=seconds)


def _cut_off(name: str, promised: float, there: float) -> InputError:
    return InputError(f"{name}: cut off: {there:.1f} s of the {promised:.1f} s it promises are there; copy it again")
