"""Cues, and the structure between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""A line with its end. Other characters that Unicode calls line ends are text."""


@dataclass(frozen=True)
class Structure:
    """Times, numbers, headers and blank lines: they stay. unknown: whether it has words of no known meaning."""

    source: str
    unknown: bool = False


@dataclass(frozen=True)
class Cue:
    """The words of a cue with their markup. shown: from when to when, in seconds.

    voice: who speaks, or the style; cues of different voices share no sentence. None: shares none with any.
    """

    source: str
    shown: tuple[float, float] = (0.0, 0.0)
    voice: str | None = ""


Block = Structure | Cue


def lines_of(document: str) -> list[str]:
    """Split a document into lines that keep their ends."""
    return LINE.findall(document)


def seconds(time: str) -> float:
    """Convert hours, minutes and seconds, or only the last two, to seconds. A comma may be the decimal point."""
    hours, minutes, rest = ["0", *re.sub(r"\s", "", time).replace(",", ".").split(":")][-3:]
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)
