"""Segments as subtitles are read: short lines, few at a time."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gemma_cli.text.transcript import Segment


@dataclass(frozen=True)
class Layout:
    """width: characters in a line; lines: in a cue. None: no limit."""

    width: int | None = None
    lines: int | None = None


def lay_out(segments: Iterable[Segment], layout: Layout) -> Iterator[Segment]:
    """The segments as cues. A text of too many lines becomes several cues, which share its time by their characters."""
    cues = (cue for segment in segments for cue in _cues(segment, layout))
    for number, cue in enumerate(cues):
        yield replace(cue, id=number)


def _cues(segment: Segment, layout: Layout) -> Iterator[Segment]:
    text = " ".join(segment.text.split())
    lines = textwrap.wrap(text, layout.width) if layout.width else [text]
    most = layout.lines or max(1, len(lines))
    texts = ["\n".join(lines[first : first + most]) for first in range(0, len(lines), most)]
    said, whole = 0, sum(map(len, texts))
    for cue in texts:
        start = segment.start + (segment.end - segment.start) * said / max(1, whole)
        said += len(cue)
        end = segment.start + (segment.end - segment.start) * said / max(1, whole)
        yield replace(segment, start=start, end=end, text=cue)
