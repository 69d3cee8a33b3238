"""Animations as short videos: GIF, APNG, WebP and AVIF, a few frames at the times they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.messages import Video
from gemma_cli.media.pictures import colour
from gemma_cli.media.pictures.image import check_memory, damage, frame_from_pixels, open_picture

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

MOST_FRAMES = 16
"""Frames that are kept of an animation, evenly spread over it."""

_STEP_S = 0.1  # between two frames of a short animation
_LONGEST = 20_000  # frames that are looked at
_DEFAULT_MS = 100  # what browsers show a frame for that gives no time


def animation_in(file: BinaryIO, name: str) -> Video | None:
    """Read an animation; None, with the file at its beginning, for a picture that does not move. Raises InputError."""
    with damage(name):
        picture = open_picture(file, name)
        count = getattr(picture, "n_frames", 1)
        if count > 1 and picture.format in ("GIF", "PNG", "WEBP", "AVIF"):
            kept = _spread(picture, file, min(count, _LONGEST), name)
            frames = tuple(frame_from_pixels(pixels, f"{name} at {second:.1f} s") for second, pixels in kept)
            return Video(frames, tuple(second for second, _ in kept), name)
    file.seek(0)
    return None


def _spread(picture: PIL.Image.Image, file: BinaryIO, count: int, name: str) -> list[tuple[float, np.ndarray]]:
    """At most MOST_FRAMES frames with their seconds: of more, every other one goes and the step doubles."""
    step, until = _STEP_S, 0.0
    kept: list[tuple[float, np.ndarray]] = []
    for number in range(count):
        picture.seek(number)
        check_memory(picture, file, name)
        if picture.format in ("WEBP", "AVIF"):
            picture.load()  # which tells how long it is shown
        until += float(picture.info.get("duration") or _DEFAULT_MS) / 1000
        if len(kept) * step >= until - 1e-9:  # over before the next that is kept
            continue
        picture.load()
        pixels = colour.rgb(picture, name)
        while len(kept) * step < until - 1e-9:
            kept.append((len(kept) * step, pixels))
            if len(kept) > MOST_FRAMES:
                del kept[1::2]
                step *= 2
    return kept
