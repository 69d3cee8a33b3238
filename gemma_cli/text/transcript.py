"""Transcripts: timed segments and the formats they are written in.

Each writer turns segments into pieces of text as they come, so a long transcript can be followed while it is made.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from gemma_cli.core.errors import UsageError


@dataclass(frozen=True)
class Segment:
    """start, end: seconds from the beginning of the recording."""

    id: int
    start: float
    end: float
    text: str


def txt(segments: Iterable[Segment]) -> Iterator[str]:
    """One line a segment."""
    for segment in _spoken(segments):
        yield f"{_line(segment.text)}\n"


def srt(segments: Iterable[Segment]) -> Iterator[str]:
    """SubRip; a text may have several lines. It has no escapes, so an arrow in the text becomes a typographic one."""
    for number, segment in enumerate(_spoken(segments), 1):
        text = _lines(segment.text).replace("-->", "→")
        yield f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{text}\n\n"


def vtt(segments: Iterable[Segment]) -> Iterator[str]:
    """WebVTT (W3C); a text may have several lines. `&`, `<` and `>` are escaped, and with them the arrow."""
    yield "WEBVTT\n\n"
    for segment in _spoken(segments):
        text = html.escape(_lines(segment.text), quote=False)
        yield f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{text}\n\n"


def tsv(segments: Iterable[Segment]) -> Iterator[str]:
    """Whole milliseconds and text between tabs, under a header."""
    yield "start\tend\ttext\n"
    for segment in _spoken(segments):
        text = _line(segment.text).replace("\t", " ")
        yield f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{text}\n"


def as_json(segments: Iterable[Segment]) -> Iterator[str]:
    """{"text", "segments": [{"id", "start", "end", "text"}]} in one piece; texts as they are."""
    known = list(segments)
    text = " ".join(_line(segment.text) for segment in _spoken(known))
    yield json.dumps({"text": text, "segments": [asdict(segment) for segment in known]}) + "\n"


WRITERS: dict[str, Callable[[Iterable[Segment]], Iterator[str]]] = {
    "txt": txt,
    "srt": srt,
    "vtt": vtt,
    "tsv": tsv,
    "json": as_json,
}


def writer(name: str) -> Callable[[Iterable[Segment]], Iterator[str]]:
    """The writer of a format. Raises UsageError for one that is not known."""
    try:
        return WRITERS[name]
    except KeyError:
        raise UsageError(f"unknown transcript format {name!r}: {', '.join(WRITERS)} are known") from None


def _spoken(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments with something in them: an empty cue would end the next one early."""
    return (segment for segment in segments if _line(segment.text))


_UNWRITABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")


def _line(text: str) -> str:
    """The text in one line: whatever ends a line becomes a space."""
    return _lines(text).replace("\n", " ")


def _lines(text: str) -> str:
    """The text without blank lines, which would end a cue; controls and lone surrogates become U+FFFD."""
    lines = (line.strip() for line in text.splitlines())
    return _UNWRITABLE.sub("\ufffd", "\n".join(line for line in lines if line))


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _clock(seconds: float, point: str) -> str:
    """HH:MM:SS with milliseconds; hours take as many digits as they need."""
    whole, milliseconds = divmod(_milliseconds(seconds), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{milliseconds:03}"
