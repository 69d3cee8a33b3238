"""Films to what the model sees: a frame for each second, at most 60."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.messages import Video
from gemma_cli.media.container import EXTRA, available, open_container
from gemma_cli.media.files import display_name, open_input
from gemma_cli.media.pictures.image import from_pixels

if TYPE_CHECKING:
    import numpy as np
    from av import VideoFrame
    from av.container import InputContainer

MAX_FRAMES = 60
"""The most Gemma 4's model card gives a film: a minute at one frame a second."""

_MOST_PIXELS = 64_000_000  # pixels of a decoded frame
_KEPT_PIXELS = 1_000_000  # pixels of a stored frame: more than all budgets but the largest use for a single picture
_SKIP_SECONDS = 5.0  # a step longer than this is taken by seeking, a shorter one by decoding


def read_video(path: str | Path, max_frames: int = MAX_FRAMES) -> Video:
    """Read one frame per second; from a longer video than max_frames seconds, max_frames evenly spaced frames.

    "-" is standard input. Raises InputError, and UsageError where the extra `video` is not installed.
    """
    with open_input(path) as file:
        return video_in(file, display_name(path), max_frames)


def video_in(file: BinaryIO, name: str, max_frames: int = MAX_FRAMES) -> Video:
    """Read an open file; see `read_video`."""
    if not available():
        raise UsageError(f"{name}: videos are read with PyAV, which is not installed: {EXTRA}")
    with open_container(file, name) as container:
        taken = list(_sampled(container, name, max_frames))
    if not taken:
        raise InputError(f"{name}: contains no pictures; it may be truncated, or only sound")
    frames = tuple(from_pixels(pixels, f"{name} at {second:.1f} s") for second, pixels in taken)
    return Video(frames, tuple(second for second, _ in taken), name)


def _sampled(container: InputContainer, name: str, max_frames: int) -> Iterator[tuple[float, np.ndarray]]:
    """(second, uint8 [height, width, 3]) of the first frame at or after each wanted second."""
    import av

    if not container.streams.video or not container.streams.video[0].codec_context:
        return
    stream = container.streams.video[0]
    if stream.width * stream.height > _MOST_PIXELS:
        raise InputError(f"{name}: frames of {stream.width} x {stream.height} pixels; scale it down")
    tick = float(stream.time_base or Fraction(1, av.time_base))
    origin = (stream.start_time or 0) * tick
    length = (container.duration or 0) / av.time_base
    step = max(1.0, length / max_frames)
    frames = container.decode(stream)
    position = 0.0
    for wanted in (number * step for number in range(max_frames)):
        if wanted - position > _SKIP_SECONDS:
            container.seek(int((origin + wanted) / tick), stream=stream)
            frames = container.decode(stream)
        found = next((frame for frame in frames if frame.time is not None and frame.time - origin >= wanted), None)
        if found is None:
            return
        position = found.time - origin
        yield position, _pixels(found)


def _pixels(frame: VideoFrame) -> np.ndarray:
    """The frame upright, in RGB, scaled down to _KEPT_PIXELS."""
    import numpy as np

    scale = min(1.0, (_KEPT_PIXELS / (frame.width * frame.height)) ** 0.5)
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    pixels = frame.reformat(width, height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
