"""The audio tower over one sound or several at once, with the same result to the last bit.

What a sound's last bits depend on in the tower is its length, not what stands beside it. So it is padded, under a
mask, to a multiple of FRAMES, and sounds of one length go through together. The first time they do, they go one by one
as well: where that makes a difference, it is left at that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

FRAMES = 64
"""Frames of 10 ms. The tower makes 16 rows of them: whole vectors in every operation, where a rest would be computed by
other code than the vectors are."""

TOGETHER = 3072
"""Frames per batch, the longest possible sound: memory does not grow with the batch."""

AudioFrames = tuple[Tensor, Tensor]
"""frames [1, n, mels] and mask, bool [1, n], as the feature extractor gives them."""


def padded(heard: AudioFrames) -> AudioFrames:
    """Pad to a multiple of FRAMES frames."""
    frames, mask = heard
    missing = -frames.shape[1] % FRAMES
    return F.pad(frames, (0, 0, 0, missing)), F.pad(mask, (0, missing))


class AudioBatcher:
    """embed: the tower, (frames [m, n, mels], mask [m, n]) -> (rows [m, k, hidden], mask [m, k])."""

    def __init__(self, embed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        self._embed = embed
        self._agree: bool | None = None

    def encode(self, sounds: Sequence[AudioFrames]) -> list[Tensor]:
        """The rows of each, [rows, hidden]."""
        waiting = [padded(heard) for heard in sounds]
        found: dict[int, Tensor] = {}
        for alike in _alike([frames.shape[1] for frames, _ in waiting]):
            found |= zip(alike, self._together([waiting[index] for index in alike]), strict=True)
        return [found[index] for index in range(len(waiting))]

    def _together(self, sounds: Sequence[AudioFrames]) -> list[Tensor]:
        if len(sounds) == 1 or self._agree:
            return self._run(sounds)
        alone = [rows for heard in sounds for rows in self._run([heard])]
        if self._agree is None:
            pairs = zip(alone, self._run(sounds), strict=True)
            self._agree = all(torch.equal(one, other) for one, other in pairs)
        return alone

    def _run(self, sounds: Sequence[AudioFrames]) -> list[Tensor]:
        rows, mask = self._embed(torch.cat([frames for frames, _ in sounds]), torch.cat([mask for _, mask in sounds]))
        return [of_one[heard] for of_one, heard in zip(rows, mask, strict=True)]


def _alike(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield indices of sounds of one length, as many as one batch takes."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    for length, indices in by_length.items():
        size = max(1, TOGETHER // length)
        for first in range(0, len(indices), size):
            yield indices[first : first + size]
