"""Options that select a part of a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import typer

from gemma_cli.common.command_line.clips import clip_of
from gemma_cli.media.audio import Part


@dataclass(frozen=True)
class PartOptions:
    """A time range, a sound track and a channel."""

    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            metavar="A-B",
            help="Use only the part from time A to time B, in seconds or hh:mm:ss, for example 90-2:30.",
        ),
    ] = None
    channel: Annotated[
        int | None,
        typer.Option(
            "--channel",
            min=1,
            metavar="N",
            help="Use only the channel with this number, counted from 1. Default: a mix of all channels.",
        ),
    ] = None
    track: Annotated[
        str | None,
        typer.Option(
            "--track",
            metavar="N|LANG",
            help="Sound track of a video, as a number or a language. Default: the file's default track.",
        ),
    ] = None

    def part(self) -> Part:
        """Return the selected part. Raises UsageError for an invalid time range."""
        start, end = clip_of(self.clip) if self.clip else (0.0, math.inf)
        return Part(start, end, self.channel, self.track)
