"""A stretch of time of a recording or a video, as it is given on the command line."""

from __future__ import annotations

import re

from gemma_cli.core.errors import UsageError


def clip_of(text: str) -> tuple[float, float]:
    """(start, end) in seconds of "A-B", each seconds, mm:ss or hh:mm:ss. Raises UsageError."""
    time = r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"\s*{time}\s*-\s*{time}\s*", text)
    if not found:
        raise UsageError(f"--clip {text}: not a time range; write a range as 90-150 or 1:30-2:30")
    hours, minutes, seconds, *end = found.groups()
    start, stop = _seconds(hours, minutes, seconds), _seconds(*end)
    if start >= stop:
        raise UsageError(f"--clip {text}: the end is not after the start; give a later end")
    return start, stop


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
