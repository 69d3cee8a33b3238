"""Options that select a part of a recording."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated

import typer

from gemma_cli.core.errors import UsageError
from gemma_cli.media.audio import Part


@dataclass(frozen=True)
class PartOptions:
    """A time range, a sound track and a channel."""

    clip: Annotated[
        str | None, typer.Option("--clip", metavar="A-B", help="Only this part: seconds or hh:mm:ss, as in 90-2:30.")
    ] = None
    channel: Annotated[
        int | None, typer.Option("--channel", min=1, metavar="N", help="Only this channel. Default: all, mixed.")
    ] = None
    track: Annotated[
        str | None,
        typer.Option(
            "--track",
            metavar="N|LANG",
            help="Sound track of a video, by number or language. Default: the one that the file names.",
        ),
    ] = None

    def part(self) -> Part:
        """Return the selected part. Raises UsageError for an invalid time range."""
        start, end = clip_of(self.clip) if self.clip else (0.0, math.inf)
        return Part(start, end, self.channel, self.track)


def clip_of(text: str) -> tuple[float, float]:
    """(start, end) in seconds of "A-B", each seconds, mm:ss or hh:mm:ss. Raises UsageError."""
    time = r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"\s*{time}\s*-\s*{time}\s*", text)
    if not found:
        raise UsageError(f"--clip {text}: not a time range; write it as 90-150 or 1:30-2:30")
    hours, minutes, seconds, *end = found.groups()
    start, stop = _seconds(hours, minutes, seconds), _seconds(*end)
    if start >= stop:
        raise UsageError(f"--clip {text}: ends before it begins")
    return start, stop


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
