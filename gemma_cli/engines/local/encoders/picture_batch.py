"""The vision tower over one picture or several at once, with the same result to the last bit.

The image processor pads pictures of one budget to the same number of patches, under a mask, so that they can go through
together as they are. The first time they do, they go one by one as well: where that makes a difference, it is left at
that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

TOGETHER = 2520
"""Patches that go through at once, those of a picture of 280 tokens: memory does not grow by it."""

PicturePatches = tuple[Tensor, Tensor]
"""pixels [1, n, patch] and places [1, n, 2], -1 where it is padding, as the image processor gives them."""


class PictureBatcher:
    """embed: the tower, (pixels [m, n, patch], places [m, n, 2]) -> the rows of all pictures in order [k, hidden].

    soft_tokens: how many of those rows belong to each picture, by its places.
    """

    def __init__(self, embed: Callable[[Tensor, Tensor], Tensor], soft_tokens: Callable[[Tensor], list[int]]) -> None:
        self._embed, self._soft_tokens = embed, soft_tokens
        self._agree: dict[int, bool] = {}  # by the patches of a picture

    def encode(self, pictures: Sequence[PicturePatches]) -> list[Tensor]:
        """Return the rows of each, [rows, hidden]."""
        found: dict[int, Tensor] = {}
        by_length: dict[int, list[int]] = {}
        for index, (pixels, _) in enumerate(pictures):
            by_length.setdefault(pixels.shape[1], []).append(index)
        for length, alike in by_length.items():
            size = max(1, TOGETHER // length)
            for first in range(0, len(alike), size):
                group = alike[first : first + size]
                found |= zip(group, self._together(length, [pictures[index] for index in group]), strict=True)
        return [found[index] for index in range(len(pictures))]

    def _together(self, length: int, pictures: Sequence[PicturePatches]) -> list[Tensor]:
        if len(pictures) == 1 or self._agree.get(length):
            return self._run(pictures)
        alone = [rows for picture in pictures for rows in self._run([picture])]
        if length not in self._agree:
            pairs = zip(alone, self._run(pictures), strict=True)
            self._agree[length] = all(torch.equal(one, other) for one, other in pairs)
        return alone

    def _run(self, pictures: Sequence[PicturePatches]) -> list[Tensor]:
        pixels, places = (torch.cat(tensors) for tensors in zip(*pictures, strict=True))
        rows = self._embed(pixels, places)
        return [part.clone() for part in torch.split(rows, self._soft_tokens(places))]
