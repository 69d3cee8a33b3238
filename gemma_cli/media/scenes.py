"""Where the picture of a video changes: a distance of colour histograms between one frame and the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FAR = 0.25
"""Share of the pixels that has changed its colour, from which a frame belongs to another scene."""

_BITS = 3  # of each channel: 512 colours
_ROWS = 128  # of a frame that are looked at, and columns


class Changes:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None

    def seen(self, pixels: np.ndarray) -> bool:
        """Whether a frame, uint8 [height, width, 3], begins a scene; the first one does not."""
        last, self._last = self._last, _histogram(pixels)
        return last is not None and distance(last, self._last) >= FAR


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that differ between two histograms, 0 to 1."""
    return float(abs(one - other).sum() / 2)


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """The share of each colour."""
    import numpy as np

    height, width, _ = pixels.shape
    few = pixels[:: max(1, height // _ROWS), :: max(1, width // _ROWS)] >> (8 - _BITS)
    numbers = (few[..., 0].astype(np.int64) << 2 * _BITS) | (few[..., 1].astype(np.int64) << _BITS) | few[..., 2]
    counts = np.bincount(numbers.reshape(-1), minlength=1 << 3 * _BITS)
    found: np.ndarray = counts / counts.sum()
    return found
