"""Transcripts: timed segments and the formats they are written in.

A format is one class here, listed in FORMATS, and carries all that the rest of the program asks about it. A writer
takes segments one by one, so that a long transcript can be followed while it is made.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import ClassVar

from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import TimedWord
from gemma_cli.text.clock import clock


@dataclass(frozen=True)
class Segment:
    """start, end: seconds from the beginning of the recording.

    words: with times of their own, where these are known and asked for. avg_logprob: mean natural logarithm of the
    probabilities of the tokens. speaker: who says it, where that is known. language: its English name, where it was
    requested or the text reveals it.
    """

    id: int
    start: float
    end: float
    text: str
    words: tuple[TimedWord, ...] | None = None
    avg_logprob: float | None = None
    speaker: str | None = None
    language: str | None = None


class TranscriptWriter:
    """Writes one transcript: `begin`, then `segment` for each, then `end`. Each returns text, which may be empty.

    subtitles: segments are cues, laid out in lines that fit a screen. one_input: a file of it holds one recording;
    elsewhere those of several follow each other under headings. has_fields: every field of a segment is written, not
    its text alone.
    """

    name: ClassVar[str]
    subtitles: ClassVar[bool] = False
    one_input: ClassVar[bool] = True
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
    """Write one line per segment."""

    name = "txt"
    one_input = False

    def spoken(self, segment: Segment) -> str:
        return f"{_named(segment, _line(segment.text))}\n"


class Srt(TranscriptWriter):
    """SubRip; a text may have several lines. It has no escapes, so an arrow in the text becomes a typographic one."""

    name = "srt"
    subtitles = True

    def __init__(self) -> None:
        self._number = 0

    def spoken(self, segment: Segment) -> str:
        self._number += 1
        text = _named(segment, _lines(segment.text)).replace("-->", "→")
        return f"{self._number}\n{clock(segment.start, 3, ',', 2)} --> {clock(segment.end, 3, ',', 2)}\n{text}\n\n"


class Vtt(TranscriptWriter):
    """WebVTT (W3C); a text may have several lines. `&`, `<` and `>` are escaped, and with them the arrow."""

    name = "vtt"
    subtitles = True

    def begin(self) -> str:
        return "WEBVTT\n\n"

    def spoken(self, segment: Segment) -> str:
        words = segment.words or ()
        marks = ["" if number == 0 else f"<{clock(word.start, 3, '.', 2)}>" for number, word in enumerate(words)]
        text = with_marks(segment, marks, lambda part: html.escape(part, quote=False))
        voice = f"<v {html.escape(_line(segment.speaker), quote=False)}>" if segment.speaker else ""
        return f"{clock(segment.start, 3, '.', 2)} --> {clock(segment.end, 3, '.', 2)}\n{voice}{text}\n\n"


class Tsv(TranscriptWriter):
    """Milliseconds, as integers, and text between tabs, under a header."""

    name = "tsv"

    def begin(self) -> str:
        return "start\tend\ttext\n"

    def spoken(self, segment: Segment) -> str:
        text = _named(segment, _line(segment.text)).replace("\t", " ")
        return f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{text}\n"


class Json(TranscriptWriter):
    """{"text", "segments": [...]} in one piece: every field of a segment, texts as they are."""

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


class Ass(TranscriptWriter):
    """Advanced SubStation Alpha; with word times every word is marked for karaoke, in hundredths of a second."""

    name = "ass"
    subtitles = True

    def begin(self) -> str:
        return _ASS_HEADER

    def spoken(self, segment: Segment) -> str:
        times = [*(word.start for word in segment.words or ()), segment.end]
        marks = [f"{{\\k{max(0, round(100 * (after - before)))}}}" for before, after in pairwise(times)]
        # Braces begin commands, and nothing escapes them.
        text = with_marks(segment, marks, lambda part: part.replace("{", "(").replace("}", ")")).replace("\n", "\\N")
        start, end = (clock(time, 2, ".", 1) for time in (segment.start, segment.end))
        speaker = _line(segment.speaker or "").replace(",", " ")
        return f"Dialogue: 0,{start},{end},Default,{speaker},0,0,0,,{text}\n"


_ASS_HEADER = """\
[Script Info]
ScriptType: v4.00+
WrapStyle: 0

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,20,&H00FFFFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,2,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


class Lrc(TranscriptWriter):
    """Lyrics: a line a segment, after its time; with word times each word has its own (enhanced LRC)."""

    name = "lrc"
    subtitles = True

    def spoken(self, segment: Segment) -> str:
        marks = [f"<{_minutes(word.start)}>" for word in segment.words or ()]
        text = with_marks(segment, marks, lambda part: part)
        return f"[{_minutes(segment.start)}]{_named(segment, _line(text))}\n"


def _named(segment: Segment, text: str) -> str:
    """The text after the name of its speaker, if that is known."""
    return f"{_line(segment.speaker)}: {text}" if segment.speaker else text


def _minutes(seconds: float) -> str:
    """Such as 75:04.20: LRC knows no hours."""
    hundredths = max(0, round(seconds * 100))
    return f"{hundredths // 6000:02}:{hundredths % 6000 / 100:05.2f}"


def with_marks(segment: Segment, marks: Iterable[str], escape: Callable[[str], str]) -> str:
    """Return the text of a segment, escaped, with the mark of each timed word before it.

    A word that is not found in the text loses its mark.
    """
    text, place = _lines(segment.text), 0
    parts: list[str] = []
    for word, mark in zip(segment.words or (), marks, strict=True):
        here = text.find(word.text, place)
        if here >= 0:
            parts += [escape(text[place:here]), mark]
            place = here
    return "".join([*parts, escape(text[place:])])


FORMATS: dict[str, type[TranscriptWriter]] = {kind.name: kind for kind in (Txt, Srt, Vtt, Ass, Lrc, Tsv, Json)}


def format_named(name: str) -> type[TranscriptWriter]:
    """Return a format. Raises UsageError for one that is not known."""
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(f"unknown transcript format {name!r}: choose one of {', '.join(FORMATS)}") from None


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
