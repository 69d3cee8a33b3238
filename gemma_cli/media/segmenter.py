"""Segmentation of recordings of any length into speech short enough for the model, with times.

A segment ends at a pause of PAUSE. Without one before the encoder's limit, it ends at the longest shorter gap. Without
any gap, the cut goes through speech, and the next segment repeats the last OVERLAP so that the words at the cut can be
joined (text.overlap). Segments contain only what the detector takes for a voice, and quiet ones are amplified.

The samples stream: memory holds one segment, whatever the length of the recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemma_cli.core.messages import MAX_AUDIO_S, SAMPLE_RATE, Audio
from gemma_cli.media.sound.level import raised
from gemma_cli.media.voice_activity import FRAME

if TYPE_CHECKING:
    import numpy as np

    Detector = Callable[[np.ndarray], np.ndarray]

_ON, _OFF = 0.5, 0.35  # a voice is there from above the one until below the other: Silero's own thresholds


def _frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / FRAME)


LONGEST = _frames(MAX_AUDIO_S - 2)
"""Frames from first to last word; with PAD on both sides a segment is shorter than MAX_AUDIO_S."""

PAUSE = _frames(0.5)
"""Frames: as long as between sentences, longer than within one."""

OVERLAP = _frames(3.0)
PAD = _frames(0.25)
"""Frames added around a segment, because the detector misses the start of a soft consonant."""

_GAP = _frames(0.1)  # the least that counts as one, where no pause came
_SHORTEST = _frames(0.1)  # of voice: a click is shorter
AT_ONCE = 64
"""Frames that the detector takes per call (2 s); always the same for recordings, so that its results are too."""


@dataclass(frozen=True)
class Piece:
    """Speech from `start` to `end`, in seconds of the recording.

    overlaps: the next segment repeats its end. lead: seconds of the audio before `start`.
    """

    start: float
    end: float
    audio: Audio
    overlaps: bool = False
    lead: float = 0.0


def pieces(
    blocks: Iterator[np.ndarray],
    detect: Detector,
    name: str,
    origin: int = 0,
    at_once: int = AT_ONCE,
    seams: Sequence[int] = (),
) -> Iterator[Piece]:
    """The speech in float32 samples at SAMPLE_RATE, of which the first is the recording's sample `origin`.

    at_once: frames that are looked at together; a piece comes as soon as those that end it do. seams: samples at which
    another recording begins, where a shorter gap is a pause.
    """
    stretch = _Stretch(name, origin, seams)
    for samples in _in_blocks(blocks, at_once * FRAME):
        stretch.add(samples, detect)
        yield from stretch.finished()
    stretch.ended = True
    yield from stretch.finished()


def _in_blocks(blocks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yield the same samples in blocks of that size; the last may be shorter."""
    import numpy as np

    held: list[np.ndarray] = []
    length = 0
    for block in blocks:
        held.append(block)
        length += len(block)
        if length >= size:
            joined = np.concatenate(held)
            whole = length - length % size
            for start in range(0, whole, size):
                yield joined[start : start + size]
            held, length = [joined[whole:]], length - whole
    if length:
        yield np.concatenate(held)


class _Stretch:
    """The part of the recording that is not dealt with yet: from some point of it to what has been read."""

    def __init__(self, name: str, origin: int, seams: Sequence[int] = ()) -> None:
        import numpy as np

        self.ended = False
        self._name = name
        self._seams = np.array(seams, np.int64)
        self._start = origin  # in samples
        self._samples = np.empty(0, np.float32)
        self._voiced = np.empty(0, bool)  # for each frame
        self._speaking = False

    def add(self, samples: np.ndarray, detect: Detector) -> None:
        import numpy as np

        frames = -(-len(samples) // FRAME)
        found = np.empty(frames, bool)
        for index, probability in enumerate(detect(np.pad(samples, (0, frames * FRAME - len(samples))))):
            self._speaking = probability >= (_OFF if self._speaking else _ON)
            found[index] = self._speaking
        self._samples = np.concatenate([self._samples, samples])
        self._voiced = np.concatenate([self._voiced, found])

    def finished(self) -> Iterator[Piece]:
        """Yield the segments whose end is known."""
        import numpy as np

        while True:
            voiced = np.flatnonzero(self._voiced)
            if not len(voiced):
                self._drop(len(self._voiced) - PAD)
                return
            first = int(voiced[0])
            last = self._last_before_a_pause(voiced)
            if (last is None or last - first >= LONGEST) and voiced[-1] - first >= LONGEST:
                yield from self._cut(first)
            elif last is not None:
                yield from self._piece(first, last + 1, right=PAD)
                self._drop(last + 1)
            else:
                self._drop(first - PAD)
                return

    def _last_before_a_pause(self, voiced: np.ndarray) -> int | None:
        """The last of the voiced frames before the first pause; None while that has not come."""
        import numpy as np

        gaps = np.diff(voiced)
        seams = np.searchsorted(self._seams, self._start + voiced * FRAME)  # passed by each voiced frame
        pauses = np.flatnonzero((gaps > PAUSE) | ((gaps > _GAP) & (np.diff(seams) > 0)))
        if len(pauses):
            return int(voiced[pauses[0]])
        silent = len(self._voiced) - 1 - int(voiced[-1])
        return int(voiced[-1]) if self.ended or silent >= PAUSE else None

    def _cut(self, first: int) -> Iterator[Piece]:
        """Cut a segment that must end before a pause: at the longest gap in its last two thirds, if there is one."""
        import numpy as np

        voiced = first + np.flatnonzero(self._voiced[first : first + LONGEST])
        gaps = np.diff(voiced) - 1
        gaps[voiced[:-1] < first + LONGEST // 3] = 0
        longest = len(gaps) - 1 - int(np.argmax(gaps[::-1]))
        gap = int(gaps[longest])
        if gap < _GAP:
            end = first + LONGEST
            yield from self._piece(first, end, overlaps=True)
            self._drop(end - OVERLAP)
        else:
            end = int(voiced[longest]) + 1
            yield from self._piece(first, end, right=gap // 2)
            self._drop(end + gap // 2)

    def _piece(self, first: int, end: int, right: int = 0, overlaps: bool = False) -> Iterator[Piece]:
        """Frames first..end with their surroundings, unless there is too little of a voice in them."""
        if self._voiced[first:end].sum() < _SHORTEST:
            return
        samples = raised(self._samples[max(0, first - PAD) * FRAME : (end + right) * FRAME].copy())
        begun = self._start / SAMPLE_RATE
        stop = min(end * FRAME, len(self._samples)) / SAMPLE_RATE
        audio = Audio(hashlib.sha256(samples.tobytes()).hexdigest(), self._name, samples)
        lead = min(first, PAD) * FRAME / SAMPLE_RATE
        yield Piece(begun + first * FRAME / SAMPLE_RATE, begun + stop, audio, overlaps, lead)

    def _drop(self, frames: int) -> None:
        if frames > 0:
            self._start += frames * FRAME
            self._samples = self._samples[frames * FRAME :]
            self._voiced = self._voiced[frames:]
