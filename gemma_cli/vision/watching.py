"""Descriptions of videos: complete, or part by part with titles and a summary."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from gemma_cli.common.notices import notice
from gemma_cli.common.replies import listen
from gemma_cli.core.errors import Interrupted
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import MAX_AUDIO_S, Audio, Message, Request, Text, Video
from gemma_cli.media.sound_track import SoundTrack
from gemma_cli.media.video import FrameChoice, VideoPart, video_parts, whole_video
from gemma_cli.store.journal import Journal
from gemma_cli.text.clock import clock
from gemma_cli.vision import instructions
from gemma_cli.vision.task import Task

_TITLE_TOKENS = 32


@dataclass(frozen=True)
class Watching:
    """How to watch a video.

    sound: whether the model also gets the sound track.
    parts: whether to describe it part by part.
    scenes: whether a part begins where the picture changes.
    summary: whether to summarize the parts.
    """

    choice: FrameChoice
    sound: bool = True
    parts: bool = False
    scenes: bool = False
    summary: bool = False


@dataclass(frozen=True)
class Chapter:
    """A part of a video, from `start` to `end` in seconds, with its description.

    frames, soft_tokens: how many the model got.
    """

    start: float
    end: float | None
    title: str
    description: str
    frames: int
    soft_tokens: int | None


@dataclass
class VideoDescription:
    """The description of a video.

    summary: of all parts; "" without --summary.
    heard: whether the model got sound.
    """

    name: str
    chapters: list[Chapter] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    summary: str = ""
    heard: bool = False

    @property
    def text(self) -> str:
        """Return the summary, or all descriptions."""
        return self.summary or "\n\n".join(chapter.description for chapter in self.chapters)


class Watcher:
    """Describes open videos.

    journal: answers of an earlier run.
    """

    def __init__(self, task: Task, watching: Watching, journal: Journal, quiet: bool) -> None:
        self._task, self._watching, self._journal, self._quiet = task, watching, journal, quiet

    def watch(self, file: BinaryIO, name: str) -> Generator[VideoDescription, None, None]:
        """Yield the description after each part, and when it is complete. Raises InputError."""
        watching = self._watching
        found = VideoDescription(name)
        for part in self._parts(file, name):
            if not found.chapters:
                sound = self._sound(file, name)
            heard = sound.stretch(part.start, part.end) if sound else None
            if heard and not found.heard:
                self._remark(part, name)
            found.heard = found.heard or heard is not None
            found.chapters.append(self._chapter(found, part, heard))
            yield found
        if watching.summary:
            parts = "\n".join(f"{clock(one.start)} {one.description}" for one in found.chapters)
            asked = replace(self._task, instruction=f"{instructions.SUMMARY}\n\n{parts}", schema=None)
            found.summary = self._ask(found, asked.request(), f"summary {hashlib.sha256(parts.encode()).hexdigest()}")
            yield found

    def _parts(self, file: BinaryIO, name: str) -> Iterator[VideoPart]:
        watching = self._watching
        if watching.parts:
            yield from video_parts(file, name, watching.choice, watching.scenes)
            return
        yield whole_video(file, name, watching.choice)

    def _sound(self, file: BinaryIO, name: str) -> SoundTrack | None:
        if not self._watching.sound or "audio" not in self._task.engine().info.modalities:
            return None
        sound = SoundTrack(file, name)
        return sound if sound.heard else None

    def _remark(self, part: VideoPart, name: str) -> None:
        """Warn that a part is longer than the sound that the model takes."""
        last = part.video.seconds[-1] if part.end is None else part.end
        if last - part.start > MAX_AUDIO_S and not self._quiet:
            of = " of each part" if self._watching.parts else ""
            notice(
                f"{name}: the model receives only the first {MAX_AUDIO_S} "
                f"s of sound{of}; to leave out the sound, give --no-sound"
            )

    def _chapter(self, found: VideoDescription, part: VideoPart, heard: Audio | None) -> Chapter:
        asked = self._task.request(part.video, after=heard)
        key = _digest(part.video, heard)
        description = self._ask(found, asked, key)
        soft_tokens = found.turns[-1].usage.media_tokens
        title = self._title(found, asked, description, key) if self._watching.parts else ""
        return Chapter(part.start, part.end, title, description, len(part.video.frames), soft_tokens)

    def _title(self, found: VideoDescription, asked: Request, description: str, key: str) -> str:
        """Ask for a title in the turn after the description, whose prompt the cache still holds."""
        question = Message("user", (Text(instructions.TITLE),))
        messages = (*asked.messages, Message("assistant", (Text(description),)), question)
        sampling = replace(asked.sampling, max_tokens=_TITLE_TOKENS)
        said = self._ask(found, replace(asked, messages=messages, sampling=sampling, schema=None), f"title {key}")
        return " ".join(said.split()).strip("\"'*# .")

    def _ask(self, found: VideoDescription, request: Request, key: str) -> str:
        turn = self._journal.find(key)
        if turn is None:
            turn = listen(self._task.engine(), request)
            if turn.finish_reason == "interrupted":
                raise Interrupted
            self._journal.add(key, turn)
        found.turns.append(turn)
        return turn.text.strip()


def _digest(video: Video, heard: Audio | None) -> str:
    pairs = zip(video.seconds, video.frames, strict=True)
    shown = " ".join(f"{second:.3f} {frame.digest}" for second, frame in pairs)
    return hashlib.sha256(f"{shown} {heard.digest if heard else ''}".encode()).hexdigest()
