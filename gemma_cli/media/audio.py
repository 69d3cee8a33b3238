"""Sound files to what the model hears: mono float32 at 16 kHz, in pieces of at most MAX_AUDIO_S.

Everything streams in blocks, so an hour of audio takes the memory of one piece. The samples are the same whatever the
block size: the resampler keeps its state between blocks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import MAX_AUDIO_S, SAMPLE_RATE, Audio
from gemma_cli.media.audio_decoding import mono_16_khz
from gemma_cli.media.files import display_name, open_input
from gemma_cli.media.segmenter import Piece, pieces
from gemma_cli.media.voice_activity import VoiceDetector

if TYPE_CHECKING:
    import numpy as np

_SHORTEST = SAMPLE_RATE // 50  # one 20 ms analysis frame


@dataclass(frozen=True)
class Part:
    """What is heard of a recording: seconds start to end, and one channel (from 1) or, with None, the mean of all."""

    start: float = 0.0
    end: float = math.inf
    channel: int | None = None


WHOLE = Part()


def read_audio(path: str | Path) -> Audio:
    """A whole file of at most MAX_AUDIO_S; "-" is standard input. Raises InputError."""
    with open_input(path) as file:
        return audio_in(file, display_name(path))


def audio_in(file: BinaryIO, name: str) -> Audio:
    """Same as `read_audio`, for an open file. Raises InputError, which calls the file `name`."""
    import numpy as np

    limit = MAX_AUDIO_S * SAMPLE_RATE
    samples = np.empty(0, np.float32)
    for block in mono_16_khz(file, name):
        samples = np.concatenate([samples, block])
        if len(samples) > limit:
            raise InputError(f"{name}: longer than {MAX_AUDIO_S:g} s, the most a prompt can hold; use gemma transcribe")
    _check_length(len(samples), name)
    return Audio(hashlib.sha256(samples.tobytes()).hexdigest(), name, samples)


def duration(file: BinaryIO, name: str, part: Part = WHOLE) -> float:
    """Seconds of sound in that part of a file. Everything is decoded, so a damaged file is found out.

    Any format that libsndfile reads, and with PyAV ffmpeg's, at any rate. Raises InputError.
    """
    file.seek(0)
    length = sum(len(block) for block in mono_16_khz(file, name, part.channel))
    _check_length(length, name)
    heard = min(part.end, length / SAMPLE_RATE) - part.start
    if heard <= 0:
        raise InputError(f"{name}: ends after {length / SAMPLE_RATE:.1f} s, before what --clip asks for begins")
    return heard


def speech(file: BinaryIO, name: str, part: Part = WHOLE) -> Iterator[Piece]:
    """What is said in that part of a file, in pieces of at most MAX_AUDIO_S. Raises InputError."""
    file.seek(0)
    first = round(part.start * SAMPLE_RATE)
    return pieces(_within(mono_16_khz(file, name, part.channel), first, part.end), VoiceDetector(), name, first)


def _within(blocks: Iterator[np.ndarray], first: int, end: float) -> Iterator[np.ndarray]:
    """What of the blocks lies between sample `first` and second `end`."""
    stop = end * SAMPLE_RATE
    position = 0
    for block in blocks:
        if position >= stop:
            return
        yield block[max(0, first - position) : round(min(len(block), stop - position))]
        position += len(block)


def _check_length(length: int, name: str) -> None:
    if not length:
        raise InputError(f"{name}: holds no sound (0 samples); it may be cut off")
    if length < _SHORTEST:
        raise InputError(f"{name}: {length} samples at 16 kHz are too short to hear (20 ms at least)")
