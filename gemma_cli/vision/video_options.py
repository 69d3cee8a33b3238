"""Options of describe-video."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import typer

from gemma_cli.common.clips import clip_of
from gemma_cli.common.options import OUTPUT
from gemma_cli.common.output_files import FileOptions
from gemma_cli.core.errors import UsageError
from gemma_cli.media.video import MAX_FRAMES, FrameChoice
from gemma_cli.vision.video_output import FORMATS
from gemma_cli.vision.watching import Watching

_PANEL = "Video"


@dataclass(frozen=True)
class WatchOptions:
    """Which frames are looked at, and in how many parts."""

    fps: Annotated[
        float, typer.Option("--fps", min=0.001, max=30, help="Frames of each second.", rich_help_panel=_PANEL)
    ] = 1.0
    most: Annotated[
        int,
        typer.Option(
            "--max-frames", min=1, max=600, help="Frames of a video, or of each of its parts.", rich_help_panel=_PANEL
        ),
    ] = MAX_FRAMES
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip", metavar="A-B", help="Only this part: seconds or hh:mm:ss, as in 90-2:30.", rich_help_panel=_PANEL
        ),
    ] = None
    no_sound: Annotated[bool, typer.Option("--no-sound", help="Leave out the sound track.", rich_help_panel=_PANEL)] = (
        False
    )
    chapters: Annotated[
        bool,
        typer.Option("--chapters", help="Describe the video part by part, each with a title.", rich_help_panel=_PANEL),
    ] = False
    scenes: Annotated[
        bool,
        typer.Option("--scenes", help="The same, with a new part where the picture changes.", rich_help_panel=_PANEL),
    ] = False
    summary: Annotated[
        bool, typer.Option("--summary", help="Summarize the parts afterwards.", rich_help_panel=_PANEL)
    ] = False

    def watching(self) -> Watching:
        """Return how videos are watched. Raises UsageError."""
        if self.summary and not (self.chapters or self.scenes):
            raise UsageError("--summary is about parts: give --chapters or --scenes")
        start, end = clip_of(self.clip) if self.clip else (0.0, math.inf)
        choice = FrameChoice(self.fps, self.most, start, end)
        return Watching(choice, not self.no_sound, self.chapters or self.scenes, self.scenes, self.summary)


@dataclass(frozen=True)
class VideoOptions(FileOptions):
    """Which forms of a description to write, and where."""

    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(FORMATS),
            help="Format of the descriptions; vtt has chapters. Repeat it to write several with -o. Default: txt.",
            rich_help_panel=OUTPUT,
        ),
    ] = None

    def checked(self, files: int, as_json: bool, parts: bool) -> tuple[str, ...]:
        """Return the formats. Raises UsageError for options that do not fit together."""
        formats = tuple(dict.fromkeys(self.formats or ["txt"]))
        for form in formats:
            if form not in FORMATS:
                raise UsageError(f"--format {form}: no such format; there are {', '.join(FORMATS)}")
        if "vtt" in formats and not parts:
            raise UsageError("--format vtt holds chapters: give --chapters or --scenes")
        if as_json and (self.to_files or self.formats):
            raise UsageError("--json prints to stdout in a form of its own; for files give --format json -o DIR")
        if not self.to_files:
            self.check_files()
            if len(formats) > 1:
                raise UsageError(f"--format {' and '.join(formats)}: stdout takes one of them; -o DIR writes each")
            if files > 1 and formats[0] in ("json", "vtt"):
                raise UsageError(f"--format {formats[0]} holds one video: give jsonl, or write files with -o DIR")
        return formats
