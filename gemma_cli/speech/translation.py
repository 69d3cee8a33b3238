"""Translation of speech: each segment is transcribed and translated in one reply."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from gemma_cli.speech.pipeline import Utterance
from gemma_cli.speech.transcript_output import Transcript, TranscriptOutput
from gemma_cli.text.transcript import Segment, TranscriptWriter

Show = Literal["translation", "transcript", "both"]


@dataclass(frozen=True)
class TranslatedSegment(Segment):
    """text: the translation."""

    transcript: str = ""


def parse(reply: str, target: str) -> tuple[str, str]:
    """Return (transcript, translation) of a reply to the speech prompt.

    Models at times leave out the newline, or the label, or the transcript; what stands last is the translation.
    """
    for mark in (f"\n{target}: ", f"{target}: ", f"{target}:", "\n"):
        said, found, translation = reply.rpartition(mark) if mark == "\n" else reply.partition(mark)
        if found:
            return said.strip(), translation.strip()
    return "", reply.strip()


@dataclass(frozen=True)
class TranslationOutput(TranscriptOutput):
    """Output of translated speech. target: a language by name."""

    target: str
    show: Show

    def segment(self, number: int, utterance: Utterance) -> TranslatedSegment | None:
        said, translation = utterance.texts
        if not (said or translation):
            return None
        start, end = round(utterance.start, 3), round(utterance.end, 3)
        return TranslatedSegment(number, start, end, translation, transcript=said)

    def cues(self, segment: Segment, kind: type[TranscriptWriter]) -> Iterable[Segment]:
        """Return the text that is asked for; both: together in subtitles and JSON, elsewhere one after the other."""
        assert isinstance(segment, TranslatedSegment)
        if self.show != "both":
            text = segment.text if self.show == "translation" else segment.transcript
            return super().cues(Segment(segment.id, segment.start, segment.end, text), kind)
        if kind.has_fields:
            return [segment]
        if kind.subtitles:
            both = replace(segment, text=f"{segment.transcript}\n{segment.text}")
            return [_wrapped(both, self.options.width)]
        return [replace(segment, text=segment.transcript), segment]

    def fields(self, transcript: Transcript, name: str, duration_s: float) -> dict[str, Any]:
        translated = {"target_language": self.target, "transcript": self.spoken(transcript)}
        return super().fields(transcript, name, duration_s) | translated

    def spoken(self, transcript: Transcript) -> str:
        segments = (segment for segment in transcript.segments if isinstance(segment, TranslatedSegment))
        return " ".join(segment.transcript for segment in segments if segment.transcript)


def _wrapped(segment: Segment, width: int | None) -> Segment:
    """Both languages of a cue in lines of that width, each beginning one of its own."""
    if not width:
        return segment
    lines = [line for text in segment.text.split("\n") for line in textwrap.wrap(text, width)]
    return replace(segment, text="\n".join(lines))
