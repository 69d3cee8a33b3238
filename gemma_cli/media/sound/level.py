"""The level of speech: quiet segments are amplified to the usual level of recordings.

Gemma's features have a floor that hides quiet sound: at -40 dB most words are wrong. Loud segments are unchanged, to
the bit. The gain is limited so that noise stays quiet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TARGET = 0.05
"""Root mean square (-26 dB of full scale) of the loud frames of a segment, below which it is amplified."""

MOST_GAIN = 100.0
"""40 dB."""

_FRAME = 512  # samples
_LOUD = 95  # percentile of the frames: a click is shorter, a word longer


def raised(samples: np.ndarray) -> np.ndarray:
    """Amplify quiet speech, float32 [n] at 16 kHz; loud speech is returned unchanged."""
    import numpy as np

    frames = samples[: len(samples) - len(samples) % _FRAME].reshape(-1, _FRAME)
    if not len(frames):
        return samples
    powers = np.square(frames, dtype=np.float64).mean(axis=1)
    level = float(np.percentile(powers, _LOUD)) ** 0.5
    gain = min(MOST_GAIN, TARGET / max(level, TARGET / MOST_GAIN))
    return samples if gain <= 1.0 else np.clip(samples * np.float32(gain), -1.0, 1.0)


class Leveller:
    """Amplifies what the voice detector gets, frame by frame, by the loudest sample of late."""

    PEAK = 0.25
    """Share of full scale above which frames are unchanged."""

    FALL = 0.965
    """Decay of the loudest sample per frame of 32 ms: 10 dB a second."""

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._loudest = 0.0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """float32 [frames * frame], amplified."""
        import numpy as np

        frames = samples.reshape(-1, self._frame)
        gains = np.empty((len(frames), 1), np.float32)
        for index, peak in enumerate(np.abs(frames).max(axis=1)):
            self._loudest = max(float(peak), self._loudest * self.FALL)
            gains[index] = min(MOST_GAIN, max(1.0, self.PEAK / max(self._loudest, 1e-9)))
        return (frames * gains).reshape(-1)
