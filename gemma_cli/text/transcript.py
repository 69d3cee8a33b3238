"""Transcripts: timed segments and the formats they are written in.

A format is one class here, listed in FORMATS, and carries all that the rest of the program asks about it. A writer
takes segments one by one, so that a long transcript can be followed while it is made.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import ClassVar

from gemma_cli.core.errors import UsageError
from gemma_cli.text.clock import clock


@dataclass(frozen=True)
class Segment:
    """start, end: seconds from the beginning of the recording."""

    id: int
    start: float
    end: float
    text: str


class TranscriptWriter:
    """Writes one transcript: `begin`, then `segment` for each, then `end`. Each returns text, which may be empty.

    subtitles: segments are cues, laid out in lines that fit a screen. one_recording: a file of it holds one recording;
    elsewhere those of several follow each other under headings. has_fields: every field of a segment is written, not
    its text alone.
    """

    name: ClassVar[str]
    subtitles: ClassVar[bool] = False
    one_recording: ClassVar[bool] = True
    has_fields: ClassVar[bool] = False

    def begin(self) -> str:
        return ""

    def segment(self, segment: Segment) -> str:
        """Write a segment; nothing for one without text, as an empty cue would end the next one early."""
        return self.spoken(segment) if _line(segment.text) else ""

    def spoken(self, segment: Segment) -> str:
        """Write a segment that has text."""
        raise NotImplementedError

    def end(self) -> str:
        return ""


class Txt(TranscriptWriter):
    """One line a segment."""

    name = "txt"
    one_recording = False

    def spoken(self, segment: Segment) -> str:
        return f"{_line(segment.text)}\n"


class Srt(TranscriptWriter):
    """SubRip; a text may have several lines. It has no escapes, so an arrow in the text becomes a typographic one."""

    name = "srt"
    subtitles = True

    def __init__(self) -> None:
        self._number = 0

    def spoken(self, segment: Segment) -> str:
        self._number += 1
        text = _lines(segment.text).replace("-->", "→")
        return f"{self._number}\n{clock(segment.start, 3, ',', 2)} --> {clock(segment.end, 3, ',', 2)}\n{text}\n\n"


class Vtt(TranscriptWriter):
    """WebVTT (W3C); a text may have several lines. `&`, `<` and `>` are escaped, and with them the arrow."""

    name = "vtt"
    subtitles = True

    def begin(self) -> str:
        return "WEBVTT\n\n"

    def spoken(self, segment: Segment) -> str:
        text = html.escape(_lines(segment.text), quote=False)
        return f"{clock(segment.start, 3, '.', 2)} --> {clock(segment.end, 3, '.', 2)}\n{text}\n\n"


class Tsv(TranscriptWriter):
    """Milliseconds, as integers, and text between tabs, under a header."""

    name = "tsv"

    def begin(self) -> str:
        return "start\tend\ttext\n"

    def spoken(self, segment: Segment) -> str:
        text = _line(segment.text).replace("\t", " ")
        return f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{text}\n"


class Json(TranscriptWriter):
    """{"text", "segments": [{"id", "start", "end", "text"}]} in one piece; texts as they are."""

    name = "json"
    has_fields = True

    def __init__(self) -> None:
        self._segments: list[Segment] = []

    def segment(self, segment: Segment) -> str:
        self._segments.append(segment)
        return ""

    def end(self) -> str:
        text = " ".join(line for segment in self._segments if (line := _line(segment.text)))
        return json.dumps({"text": text, "segments": [asdict(segment) for segment in self._segments]}) + "\n"


FORMATS: dict[str, type[TranscriptWriter]] = {kind.name: kind for kind in (Txt, Srt, Vtt, Tsv, Json)}


def format_named(name: str) -> type[TranscriptWriter]:
    """Return a format. Raises UsageError for one that is not known."""
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(f"unknown transcript format {name!r}: {', '.join(FORMATS)} are known") from None


def document(segments: Iterable[Segment], kind: type[TranscriptWriter]) -> str:
    """Return a complete transcript in one of the formats."""
    writer = kind()
    return "".join([writer.begin(), *map(writer.segment, segments), writer.end()])


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
