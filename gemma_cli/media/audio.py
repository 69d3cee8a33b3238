"""Sound files to what the model hears: mono float32 at 16 kHz, in pieces of at most 30 s.

Everything streams in blocks, so an hour of audio takes the memory of one piece. The samples are the same whatever the
block size: the resampler keeps its state between blocks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.errors import InputError
from gemma_cli.media.files import display_name, open_input
from gemma_cli.messages import SAMPLE_RATE, Audio

if TYPE_CHECKING:
    import numpy as np
    import soundfile

MAX_SECONDS = 30.0
"""What the audio encoder takes at once (480 000 samples); more is silently cut off by the feature extractor."""

_SEARCH_SECONDS = 5.0  # the end of each window, where a pause to cut at is looked for
_HOP = SAMPLE_RATE // 100
_PAUSE_HOPS = 10  # energy is summed over 100 ms: longer than a stop consonant, shorter than a breath
_SHORTEST = SAMPLE_RATE // 50  # one 20 ms analysis frame
_BLOCK = 1 << 18  # samples decoded at a time, over all channels
_RATES = range(1_000, 1_000_001)
_UNKNOWN_LENGTH = 0x7F000000  # streaming writers (sox, ffmpeg into a pipe) promise this many bytes or more


def read_audio(path: str | Path) -> Audio:
    """A whole file of at most MAX_SECONDS; "-" is standard input. Raises InputError."""
    name = display_name(path)
    pieces = list(_take_two(segments(path)))
    if len(pieces) > 1:
        raise InputError(f"{name}: longer than {MAX_SECONDS:g} s, the most a prompt can hold; use gemma transcribe")
    return pieces[0][1]


def _take_two(pieces: Iterator[tuple[float, Audio]]) -> Iterator[tuple[float, Audio]]:
    for _, piece in zip(range(2), pieces, strict=False):
        yield piece


def segments(path: str | Path, max_seconds: float = MAX_SECONDS) -> Iterator[tuple[float, Audio]]:
    """(start in seconds, Audio of at most max_seconds) in order, cut at the quietest point near the end of each window.

    The pieces joined are exactly the file. Reads formats that libsndfile knows, at any rate, mixing channels down by
    their mean. Raises InputError, also midway when the file turns out to be damaged.
    """
    name = display_name(path)
    start = 0
    with open_input(path) as file:
        for samples in _cut(_decoded(file, name), round(max_seconds * SAMPLE_RATE)):
            if start == 0 and len(samples) < _SHORTEST:
                raise InputError(f"{name}: {len(samples)} samples at 16 kHz are too short to hear (20 ms at least)")
            digest = hashlib.sha256(samples.tobytes()).hexdigest()
            yield start / SAMPLE_RATE, Audio(digest, name, samples)
            start += len(samples)
    if start == 0:
        raise InputError(f"{name}: holds no sound (0 samples); it may be cut off")


def _cut(blocks: Iterator[np.ndarray], limit: int) -> Iterator[np.ndarray]:
    """Blocks of samples, any length, into pieces of at most `limit`; none but the last is under half of that."""
    import numpy as np

    buffer = np.empty(0, np.float32)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) > limit:
            cut = _quietest(buffer, limit)
            yield buffer[:cut].copy()
            buffer = buffer[cut:]
    if len(buffer):
        yield buffer.copy()


def _quietest(samples: np.ndarray, limit: int) -> int:
    """Index of the middle of the quietest 100 ms of the 5 s (at most half) before `limit`; of equals, the latest."""
    import numpy as np

    hops = min(int(_SEARCH_SECONDS * SAMPLE_RATE), limit // 2) // _HOP
    first = limit - hops * _HOP
    energy = np.square(samples[first:limit], dtype=np.float64).reshape(hops, _HOP).sum(axis=1)
    pauses = np.lib.stride_tricks.sliding_window_view(energy, _PAUSE_HOPS).sum(axis=1)
    latest = len(pauses) - 1 - int(np.argmin(pauses[::-1]))
    return first + (latest + _PAUSE_HOPS // 2) * _HOP


def _decoded(file: BinaryIO, name: str) -> Iterator[np.ndarray]:
    """The file's samples as float32 [n] in [-1, 1], mono, at SAMPLE_RATE."""
    import numpy as np
    import soundfile
    import soxr  # type: ignore[import-untyped]

    try:
        sound = soundfile.SoundFile(file)
    except soundfile.SoundFileError:
        raise InputError(
            f"{name}: not audio in a format read here (WAV, FLAC, OGG, MP3, AIFF, ...); "
            "convert it: ffmpeg -i FILE out.wav"
        ) from None
    with sound:
        _check_header(sound, name)
        resampler = None
        if sound.samplerate != SAMPLE_RATE:
            resampler = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        for block in _mono_blocks(sound, name):
            samples = resampler.resample_chunk(block) if resampler else block
            yield np.clip(samples, -1.0, 1.0)
        if resampler:
            yield np.clip(resampler.resample_chunk(np.empty(0, np.float32), last=True), -1.0, 1.0)


def _mono_blocks(sound: soundfile.SoundFile, name: str) -> Iterator[np.ndarray]:
    """float32 [n] at the file's own rate. Raises InputError where the data end early or are not numbers."""
    import numpy as np
    import soundfile

    frames = max(1, _BLOCK // sound.channels)
    read = 0
    while True:
        try:
            block = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            seconds = read / sound.samplerate
            raise InputError(f"{name}: damaged or cut off after {seconds:.1f} s; copy it again") from None
        if not len(block):
            break
        if not np.isfinite(block).all():
            raise InputError(f"{name}: samples after {read / sound.samplerate:.1f} s are not numbers; export it again")
        read += len(block)
        yield block.mean(axis=1)
    # An MP3's length is an estimate where it has no Xing header, so only the other formats can be held to theirs.
    if read < sound.frames and sound.format != "MP3":
        raise _cut_off(name, promised=sound.frames / sound.samplerate, there=read / sound.samplerate)


def _check_header(sound: soundfile.SoundFile, name: str) -> None:
    if sound.samplerate not in _RATES:
        raise InputError(f"{name}: a sample rate of {sound.samplerate} Hz; 1 kHz to 1 MHz can be read")
    # libsndfile quietly shortens a file whose data chunk promises more than is there; only its log says so.
    shortened = re.search(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    if shortened:
        promised, there = map(int, shortened.groups())
        if there < promised < _UNKNOWN_LENGTH:
            seconds = sound.frames / sound.samplerate
            raise _cut_off(name, promised=seconds * promised / max(there, 1), there=seconds)


def _cut_off(name: str, promised: float, there: float) -> InputError:
    return InputError(f"{name}: cut off: {there:.1f} s of the {promised:.1f} s it promises are there; copy it again")
