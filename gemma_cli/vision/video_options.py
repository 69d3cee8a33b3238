"""Options of describe-video."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import typer

from gemma_cli.common.command_line.clips import clip_of
from gemma_cli.common.output_files import FileOptions, format_option
from gemma_cli.core.errors import UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.media.video import MAX_FRAMES, FrameChoice
from gemma_cli.vision.video_output import FORMATS
from gemma_cli.vision.watching import Watching

_PANEL = "Video"


@dataclass(frozen=True)
class WatchOptions:
    """Options for the frames, the sound and the parts of a video."""

    fps: Annotated[
        float,
        typer.Option(
            "--fps", min=0.001, max=30, help="Number of frames per second that the model sees.", rich_help_panel=_PANEL
        ),
    ] = 1.0
    most: Annotated[
        int,
        typer.Option(
            "--max-frames",
            min=1,
            max=600,
            help="Maximum number of frames per video, or per part with --chapters or --scenes.",
            rich_help_panel=_PANEL,
        ),
    ] = MAX_FRAMES
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            metavar="A-B",
            help="Use only the part from time A to time B, in seconds or hh:mm:ss, for example 90-2:30.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    no_sound: Annotated[bool, typer.Option("--no-sound", help="Leave out the sound track.", rich_help_panel=_PANEL)] = (
        False
    )
    chapters: Annotated[
        bool,
        typer.Option(
            "--chapters",
            help="Divide the video into parts and give each part a title and a description.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    scenes: Annotated[
        bool,
        typer.Option(
            "--scenes", help="Like --chapters, but start a new part at each new scene.", rich_help_panel=_PANEL
        ),
    ] = False
    summary: Annotated[
        bool,
        typer.Option(
            "--summary", help="With --chapters or --scenes: add a summary of the entire video.", rich_help_panel=_PANEL
        ),
    ] = False

    def watching(self) -> Watching:
        """Return the options in the form of a Watcher. Raises UsageError."""
        if self.summary and not (self.chapters or self.scenes):
            raise UsageError("--summary works only with parts: give --chapters or --scenes too")
        start, end = clip_of(self.clip) if self.clip else (0.0, math.inf)
        choice = FrameChoice(self.fps, self.most, start, end)
        return Watching(choice, not self.no_sound, self.chapters or self.scenes, self.scenes, self.summary)


@dataclass(frozen=True)
class VideoOptions(FileOptions):
    """Which formats of a description to write, and where."""

    known = FORMATS

    formats: Annotated[
        list[str] | None, format_option(FORMATS, "Format of the descriptions; vtt needs --chapters or --scenes.")
    ] = None

    def check_parts(self, formats: Iterable[str], parts: bool) -> None:
        """Raise UsageError for a format of chapters where the video is not described in parts."""
        if chaptered := [name for name in formats if FORMATS[name].chapters and not parts]:
            raise UsageError(f"--format {chaptered[0]} works only with chapters: give --chapters or --scenes too")
