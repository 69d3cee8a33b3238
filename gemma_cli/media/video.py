"""Videos to what the model sees: frames at even times, and where the picture changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.messages import Video
from gemma_cli.media.container import EXTRA, available, open_container
from gemma_cli.media.files import display_name, open_input
from gemma_cli.media.pictures.image import frame_from_pixels

if TYPE_CHECKING:
    import numpy as np
    from av import VideoFrame
    from av.container import InputContainer

MAX_FRAMES = 60
"""The most Gemma 4's model card gives a video: a minute at one frame a second."""

_MOST_PIXELS = 64_000_000  # of a frame as it is decoded
_KEPT_PIXELS = 1_000_000  # of a frame as it is kept: above what any budget but the largest shows of a single picture
_SKIP_SECONDS = 5.0  # a step longer than this is taken by seeking, a shorter one by decoding
_NEARLY = 1e-4  # seconds by which a frame may be early: what is left of time stamps in binary fractions


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a video are looked at: `fps` of each second from `start` to `end`, `most` of them at most."""

    fps: float = 1.0
    most: int = MAX_FRAMES
    start: float = 0.0
    end: float = math.inf


@dataclass(frozen=True)
class VideoPart:
    """A stretch of a video, in seconds, with its frames. end: None where the video's length is not known."""

    start: float
    end: float | None
    video: Video


def read_video(path: str | Path, choice: FrameChoice = FrameChoice()) -> Video:
    """The frames of a video; where there are more than `choice.most`, so many, evenly spread over all of it.

    "-" is standard input. Raises InputError, and UsageError where the extra `video` is not installed.
    """
    with open_input(path) as file:
        return video_in(file, display_name(path), choice)


def video_in(file: BinaryIO, name: str, choice: FrameChoice = FrameChoice()) -> Video:
    """Read an open file; see `read_video`."""
    return whole_video(file, name, choice).video


def whole_video(file: BinaryIO, name: str, choice: FrameChoice) -> VideoPart:
    """Return what is chosen of a video, in one part; see `read_video`."""
    with _opened(file, name) as container:
        end = min(choice.end, _length(container) or choice.end)
        known = math.isfinite(end)
        step = max(1 / choice.fps, (end - choice.start) / choice.most) if known else 1 / choice.fps
        sampled = _sampled(container, name, step, choice)
        taken = list(islice(sampled, choice.most)) if known else _spread(sampled, choice.most)
    if not taken:
        raise InputError(f"{name}: {_nothing(choice)}")
    return VideoPart(choice.start, end if known else None, _video(taken, name))


def video_parts(file: BinaryIO, name: str, choice: FrameChoice, scenes: bool) -> Iterator[VideoPart]:
    """Yield the video in parts of at most `choice.most` frames, in one pass over the file. Raises InputError.

    scenes: begin a part where the picture changes.
    """
    from gemma_cli.media.scenes import Changes

    with _opened(file, name) as container:
        length = _length(container)
        end = min(choice.end, length) if length else None
        taken: list[tuple[float, np.ndarray]] = []
        changes = Changes()
        start = choice.start
        for second, pixels in _sampled(container, name, 1 / choice.fps, choice):
            changed = changes.seen(pixels) and scenes
            if taken and (changed or len(taken) == choice.most):
                yield VideoPart(start, second, _video(taken, name))
                start, taken = second, []
            taken.append((second, pixels))
        if not taken:
            raise InputError(f"{name}: {_nothing(choice)}")
        yield VideoPart(start, end, _video(taken, name))


def _opened(file: BinaryIO, name: str) -> AbstractContextManager[InputContainer]:
    if not available():
        raise UsageError(f"{name}: videos need PyAV, which is not installed: {EXTRA}")
    return open_container(file, name)


def _nothing(choice: FrameChoice) -> str:
    if choice.start:
        return f"the video ends before {choice.start:g} s, the start of --clip; give an earlier --clip"
    return "the video has no pictures; copy the file again, or use gemma transcribe for the sound"


def _video(taken: list[tuple[float, np.ndarray]], name: str) -> Video:
    frames = tuple(frame_from_pixels(pixels, f"{name} at {second:.1f} s") for second, pixels in taken)
    return Video(frames, tuple(second for second, _ in taken), name)


def _length(container: InputContainer) -> float:
    """Seconds of the video; 0 where its container does not say."""
    import av

    return max(0, container.duration or 0) / av.time_base


def _spread(frames: Iterator[tuple[float, np.ndarray]], most: int) -> list[tuple[float, np.ndarray]]:
    """At most that many of the frames: of more, every other one is left out, and so on."""
    kept: list[tuple[float, np.ndarray]] = []
    every = 1
    for number, frame in enumerate(frames):
        if number % every == 0:
            kept.append(frame)
        if len(kept) > most:
            del kept[1::2]
            every *= 2
    return kept


def _sampled(
    container: InputContainer, name: str, step: float, choice: FrameChoice
) -> Iterator[tuple[float, np.ndarray]]:
    """(second, uint8 [height, width, 3]) of the first frame at or after each wanted second."""
    import av

    if not container.streams.video or not container.streams.video[0].codec_context:
        return
    stream = container.streams.video[0]
    if stream.width * stream.height > _MOST_PIXELS:
        raise InputError(
            f"{name}: frames of {stream.width} x {stream.height} pixels are too large; make the video smaller"
        )
    tick = float(stream.time_base or Fraction(1, av.time_base))
    origin = (stream.start_time or 0) * tick
    frames = container.decode(stream)
    position = 0.0
    for wanted in (choice.start + number * step for number in count()):
        if wanted >= choice.end:
            return
        if wanted - position > _SKIP_SECONDS:
            container.seek(int((origin + wanted) / tick), stream=stream)
            frames = container.decode(stream)
        due = origin + wanted - _NEARLY
        found = next((frame for frame in frames if frame.time is not None and frame.time >= due), None)
        if found is None or found.time - origin >= choice.end:
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
