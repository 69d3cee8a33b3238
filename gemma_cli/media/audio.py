"""Sound files to what the model hears: mono float32 at 16 kHz, in pieces of at most 30 s.

Everything streams in blocks, so an hour of audio takes the memory of one piece. The samples are the same whatever the
block size: the resampler keeps its state between blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_cli.errors import InputError
from gemma_cli.media.decoding import mono_16_khz
from gemma_cli.media.files import display_name, open_input
from gemma_cli.messages import SAMPLE_RATE, Audio

if TYPE_CHECKING:
    import numpy as np

MAX_SECONDS = 30.0
"""What the audio encoder takes at once (480 000 samples); more is silently cut off by the feature extractor."""

_SEARCH_SECONDS = 5.0  # the end of each window, where a pause to cut at is looked for
_HOP = SAMPLE_RATE // 100
_PAUSE_HOPS = 10  # energy is summed over 100 ms: longer than a stop consonant, shorter than a breath
_SHORTEST = SAMPLE_RATE // 50  # one 20 ms analysis frame


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

    The pieces joined are exactly the file. Any format that libsndfile reads, and with PyAV ffmpeg's, at any rate;
    channels are mixed down by their mean. Raises InputError, also midway when the file turns out to be damaged.
    """
    name = display_name(path)
    start = 0
    with open_input(path) as file:
        for samples in _cut(mono_16_khz(file, name), round(max_seconds * SAMPLE_RATE)):
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
