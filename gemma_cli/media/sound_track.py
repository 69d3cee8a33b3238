"""The sound of a video beside its frames: stretches of at most MAX_AUDIO_S, in one pass over the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.messages import MAX_AUDIO_S, SAMPLE_RATE, Audio
from gemma_cli.media.container import open_container
from gemma_cli.media.sound import ffmpeg, level
from gemma_cli.media.sound.convert import mono_16_khz
from gemma_cli.media.sound.findings import Findings

if TYPE_CHECKING:
    import numpy as np

_SILENT = 1e-4  # loudness of the loudest sample below which nothing is heard


class SoundTrack:
    """The default sound track of an open video, read from its beginning to its end as stretches are asked for."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._name = name
        self._blocks: Iterator[np.ndarray] = iter(())
        self._held: list[np.ndarray] = []
        self._first = 0  # the sample that is held first
        with open_container(file, name) as container:
            self.heard = bool(container.streams.audio)
        if self.heard:
            findings = Findings()
            self._blocks = mono_16_khz(ffmpeg.blocks(file, name, None, findings), name, findings)

    def stretch(self, start: float, end: float | None) -> Audio | None:
        """Return what is heard from second `start` on, at most MAX_AUDIO_S; None for silence. Raises InputError.

        Stretches are asked for in order, and do not overlap.
        """
        import numpy as np

        longest = start + MAX_AUDIO_S
        first, stop = round(start * SAMPLE_RATE), round(min(longest, longest if end is None else end) * SAMPLE_RATE)
        while self._first + sum(map(len, self._held)) < stop and (block := next(self._blocks, None)) is not None:
            self._held.append(block)
            while self._held and self._first + len(self._held[0]) <= first:
                self._first += len(self._held.pop(0))
        samples = np.concatenate([np.empty(0, np.float32), *self._held])[max(0, first - self._first) :]
        samples = samples[: stop - first]
        if len(samples) < SAMPLE_RATE // 50 or float(np.abs(samples).max()) < _SILENT:
            return None
        samples = level.raised(samples)
        return Audio(hashlib.sha256(samples.tobytes()).hexdigest(), f"sound of {self._name}", samples)
