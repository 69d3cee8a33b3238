"""Live sound, from a microphone or another source.

The device's thread gives its blocks to an `Incoming`, which measures and queues them. The consumer takes them at its
own pace, so nothing is lost while the model works.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING

from gemma_cli.media.segmenter import Piece, pieces
from gemma_cli.media.sound.convert import mono_16_khz
from gemma_cli.media.sound.findings import Findings
from gemma_cli.media.voice_activity import VoiceDetector

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 4
"""Frames (128 ms) per call of the detector: the delay between a pause and its detection."""

_FALL = 0.8  # of the level from block to block: a meter that can be read


class Incoming:
    """A queue of sound. rate: samples per second. level: recent peak, 0 to 1. heard_s: seconds received."""

    def __init__(self, rate: int, name: str, channel: int | None = None) -> None:
        self.name = name
        self.level = 0.0
        self.heard_s = 0.0
        self._taken_s = 0.0
        self._rate, self._channel = rate, channel
        self._queue: SimpleQueue[np.ndarray | None] = SimpleQueue()

    @property
    def behind_s(self) -> float:
        """Seconds of sound in the queue."""
        return max(0.0, self.heard_s - self._taken_s)

    def give(self, block: np.ndarray) -> None:
        """Hand over float32 [n, channels], which is copied; n >= 1. Any thread may."""
        self.level = max(float(abs(block).max()), self.level * _FALL)
        self.heard_s += len(block) / self._rate
        self._queue.put(block.copy())

    def stop(self) -> None:
        """End it after what has been given; a signal handler may."""
        self._queue.put(None)

    def pieces(self) -> Iterator[Piece]:
        """Yield each segment of speech when its end is known, until stopped. Raises InputError."""
        blocks = mono_16_khz(self._blocks(), self.name, Findings(), self._channel)
        return pieces(blocks, VoiceDetector(), self.name, at_once=AT_ONCE)

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        while (block := self._queue.get()) is not None:
            self._taken_s += len(block) / self._rate
            yield self._rate, block
