"""Translating speech: each piece is written down and translated in one reply."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gemma_cli.common.notices import figures, heading, notice
from gemma_cli.common.options import EngineOptions, OutputOptions
from gemma_cli.core.events import Turn
from gemma_cli.speech.output import SUBTITLES, TranscriptOptions
from gemma_cli.speech.pipeline import Answer, Task, Utterance, together, understood
from gemma_cli.speech.progress import Progress
from gemma_cli.speech.recording import Recording
from gemma_cli.store.atomic_write import write_together
from gemma_cli.text import transcript
from gemma_cli.text.language_of_text import recognised
from gemma_cli.text.transcript import Segment
from gemma_cli.views.sanitize import safe

Show = Literal["translation", "transcript", "both"]


@dataclass(frozen=True)
class SpeechTranslation:
    """What is wanted of recordings. source None: the model hears the language. formats: the first is stdout's."""

    source: str | None
    target: str
    show: Show
    formats: tuple[str, ...]
    written: TranscriptOptions


@dataclass(frozen=True)
class TranslatedSegment(Segment):
    """text: the translation."""

    transcript: str = ""


def parse(reply: str, target: str) -> tuple[str, str]:
    """(transcript, translation) of a reply to the speech prompt.

    Models at times leave out the newline, or the label, or the transcript; what stands last is the translation.
    """
    for mark in (f"\n{target}: ", f"{target}: ", f"{target}:", "\n"):
        said, found, translation = reply.rpartition(mark) if mark == "\n" else reply.partition(mark)
        if found:
            return said.strip(), translation.strip()
    return "", reply.strip()


@dataclass(frozen=True)
class SpeechTranslator:
    """How the recordings of one command are translated. many: whether there are several inputs."""

    task: Task
    speech: SpeechTranslation
    options: EngineOptions
    output: OutputOptions
    many: bool

    def write(
        self,
        recording: Recording,
        answers: Iterator[Answer],
        paths: dict[str, Path] | None,
        progress: Progress,
        number: int,
    ) -> None:
        """Write what is said in a recording into files, or to stdout. number: its place among the inputs.

        Raises InputError.
        """
        turns: list[Turn] = []
        if not self.output.quiet:
            recording.remark()
        with progress.of(recording, number):
            heard = progress.watched(understood(self.task, recording.name, answers))
            segments = _segments(heard, turns)
            if paths:
                self._write_files(list(segments), paths)
            elif self.output.as_json:
                self._print_object(list(segments), turns, recording)
            else:
                self._print(segments, recording.name)
        if paths and not self.output.quiet:
            notice(f"wrote {', '.join(map(str, paths.values()))}")
        if not turns and not self.output.quiet:
            notice(f"{recording.name}: no speech found ({recording.duration_s:.1f} s)")
        if self.output.stats:
            notice(figures(together(turns)))

    def _write_files(self, segments: list[TranslatedSegment], paths: dict[str, Path]) -> None:
        write_together({path: "".join(self._pieces(iter(segments), form)) for form, path in paths.items()})

    def _print(self, segments: Iterator[TranslatedSegment], name: str) -> None:
        form = self.speech.formats[0]
        sys.stdout.write(heading(name, 2 if self.many else 1) if form == "txt" else "")
        for piece in self._pieces(segments, form):
            sys.stdout.write(piece)
            sys.stdout.flush()

    def _pieces(self, segments: Iterator[TranslatedSegment], form: str) -> Iterator[str]:
        shown = _shown(segments, self.speech.show, form)
        if form in SUBTITLES and self.speech.show == "both":
            laid_out: Iterable[Segment] = (_wrapped(segment, self.speech.written.width) for segment in shown)
        else:
            laid_out = self.speech.written.laid_out(shown, form)
        return map(safe, transcript.writer(form)(laid_out))

    def _print_object(self, segments: list[TranslatedSegment], turns: list[Turn], recording: Recording) -> None:
        from gemma_cli.views import json

        said = " ".join(segment.transcript for segment in segments if segment.transcript)
        fields = json.transcript_object(
            turns,
            self.task.engine().info,
            self.options.draft_tokens,
            file=recording.name,
            language=self.speech.source or recognised(said),
            duration_s=recording.duration_s,
            segments=segments,
        )
        json.write(fields | {"target_language": self.speech.target, "transcript": said}, sys.stdout)


def _segments(heard: Iterator[Utterance], turns: list[Turn]) -> Iterator[TranslatedSegment]:
    number = 0
    for piece in heard:
        turns.append(piece.turn)
        said, translation = piece.texts
        if said or translation:
            yield TranslatedSegment(number, round(piece.start, 3), round(piece.end, 3), translation, said)
            number += 1


def _shown(segments: Iterator[TranslatedSegment], show: Show, form: str) -> Iterator[Segment]:
    """The asked-for text of each segment; both: in subtitles and JSON together, elsewhere one after the other."""
    for segment in segments:
        if show == "translation":
            yield Segment(segment.id, segment.start, segment.end, segment.text)
        elif show == "transcript":
            yield Segment(segment.id, segment.start, segment.end, segment.transcript)
        elif form == "json":
            yield segment
        elif form in SUBTITLES:
            yield replace(segment, text=f"{segment.transcript}\n{segment.text}")
        else:
            yield replace(segment, text=segment.transcript)
            yield segment


def _wrapped(segment: Segment, width: int | None) -> Segment:
    """Both languages of a cue in lines of that width, each beginning one of its own."""
    if not width:
        return segment
    lines = [line for text in segment.text.split("\n") for line in textwrap.wrap(text, width)]
    return replace(segment, text="\n".join(lines))
