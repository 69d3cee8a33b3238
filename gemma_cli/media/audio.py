"""Sound files as input for the model: mono float32 at 16 kHz, in segments of at most 30 s.

Everything streams in blocks, so an hour of audio takes no more memory than one segment. The samples are the same for
any block size, because the resampler keeps its state between blocks.
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
from gemma_cli.media.files import display_name, open_input
from gemma_cli.media.segmenter import Piece, pieces
from gemma_cli.media.sound import level
from gemma_cli.media.sound.reader import Sound, Wanted, examine
from gemma_cli.media.voice_activity import VoiceDetector

if TYPE_CHECKING:
    import numpy as np

_SHORTEST = SAMPLE_RATE // 50  # one 20 ms analysis frame


@dataclass(frozen=True)
class Part:
    """The selected part of a recording: seconds start to end, one channel (from 1) or a mix of all, and one sound
    track. track: its number from 1 or its language; None selects the default track."""

    start: float = 0.0
    end: float = math.inf
    channel: int | None = None
    track: str | None = None


WHOLE = Part()


def read_audio(path: str | Path) -> Audio:
    """Read a file of at most MAX_AUDIO_S; "-" is standard input. Raises InputError, also for a damaged file."""
    with open_input(path) as file:
        return audio_in(file, display_name(path))


def audio_in(file: BinaryIO, name: str) -> Audio:
    """Read an open file; see `read_audio`."""
    import numpy as np

    too_long = f"the audio is longer than {MAX_AUDIO_S:g} s, the limit for a prompt; use gemma transcribe"
    sound = examine(file, name, Wanted(most=round(MAX_AUDIO_S * SAMPLE_RATE), too_long=too_long))
    if sound.findings.damage:
        raise InputError(f"{name}: {sound.findings.summary()}; copy the file again")
    _check_length(sound.length, name)
    samples = level.raised(np.concatenate(list(sound.samples())))
    return Audio(hashlib.sha256(samples.tobytes()).hexdigest(), name, samples)


def survey(file: BinaryIO, name: str, part: Part = WHOLE) -> Sound:
    """Read a file through. Any format that libsndfile reads, and with PyAV ffmpeg's, at any rate. Raises InputError."""
    sound = examine(file, name, Wanted(part.channel, part.track))
    _check_length(sound.length, name)
    if duration(sound, part) <= 0:
        raise InputError(
            f"{name}: the sound ends after {sound.length / SAMPLE_RATE:.1f} "
            "s, before the start of --clip; give an earlier --clip"
        )
    return sound


def duration(sound: Sound, part: Part = WHOLE) -> float:
    """Return the seconds of sound in that part of a file."""
    return min(part.end, sound.length / SAMPLE_RATE) - part.start


def speech(sound: Sound, part: Part = WHOLE) -> Iterator[Piece]:
    """Yield the speech in that part of a file, in segments of at most MAX_AUDIO_S. Raises InputError."""
    first = round(part.start * SAMPLE_RATE)
    return pieces(_within(sound.samples(), first, part.end), VoiceDetector(), sound.name, first, seams=sound.seams)


def _within(blocks: Iterator[np.ndarray], first: int, end: float) -> Iterator[np.ndarray]:
    """Yield the samples from sample `first` to second `end`."""
    stop = end * SAMPLE_RATE
    position = 0
    for block in blocks:
        if position >= stop:
            return
        yield block[max(0, first - position) : round(min(len(block), stop - position))]
        position += len(block)


def _check_length(length: int, name: str) -> None:
    if not length:
        raise InputError(f"{name}: the file has no sound (0 samples); copy the file again")
    if length < _SHORTEST:
        raise InputError(f"{name}: the sound is too short ({length} samples at 16 kHz); give a file of at least 20 ms")
