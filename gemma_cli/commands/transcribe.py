"""`gemma transcribe`: speech to text in its own language."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli import transcript
from gemma_cli.commands._common import Batch, figures, heading, notice, start
from gemma_cli.commands._hearing import Heard, Task, hear, together
from gemma_cli.commands._outputs import TranscriptOptions
from gemma_cli.commands._progress import progress, watched
from gemma_cli.commands._recording import Recording, survey
from gemma_cli.commands._resuming import journal
from gemma_cli.engines import Engine
from gemma_cli.errors import UsageError
from gemma_cli.events import Turn
from gemma_cli.languages import language_or_auto
from gemma_cli.media.audio import Part
from gemma_cli.media.names import sound_files
from gemma_cli.options import EngineOptions, OutputOptions, examples, grouped
from gemma_cli.transcript import Segment
from gemma_cli.views.sanitize import safe

FORMATTING = """\
Follow these specific instructions for formatting the answer:
* Only output the transcription, with no newlines.
* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, and write 3 instead of three."""

EXAMPLES = examples(
    "gemma transcribe interview.wav",
    "gemma transcribe talk.mp3 --language German --format srt > talk.srt",
    "gemma transcribe recordings/ -o transcripts -f txt -f srt --skip-existing",
    "gemma transcribe lecture.m4a --clip 10:00-12:30 --context 'Daliri, Musco, Suresh'",
    "gemma transcribe https://example.org/talk.mp3 --language German",
    "ffmpeg -v error -i video.mp4 -f wav - | gemma transcribe -",
)

app = typer.Typer(add_completion=False)


def prompt(language: str | None, context: str | None = None) -> str:
    """The speech-recognition prompt of the Gemma 4 model card; None lets the model hear which language it is.

    context: names and words that may occur, spelled as they should be.
    """
    if language is None:
        request = "Transcribe the following speech segment in its original language."
    else:
        request = f"Transcribe the following speech segment in {language} into {language} text."
    spelling = f"\n* These may occur; spell them so: {' '.join(context.split())}" if context else ""
    return f"{request}\n\n{FORMATTING}{spelling}"


@app.command(epilog=EXAMPLES)
@grouped
def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Sound files, films, folders, patterns, http(s) addresses; - is stdin."),
    ],
    engine: EngineOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="What is spoken, by name or code. Default: auto, the model hears it."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="TEXT", help="Names and words that may occur, as they are spelled."),
    ] = None,
    clip: Annotated[
        str | None, typer.Option("--clip", metavar="A-B", help="Only this part: seconds or hh:mm:ss, as in 90-2:30.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option("--channel", min=1, metavar="N", help="Only this channel. Default: all, mixed.")
    ] = None,
) -> None:
    """Write down what is said in sound files of any length."""
    spoken = language_or_auto(language)
    part = Part(*clip_of(clip), channel) if clip else Part(channel=channel)
    inputs = sound_files(files)
    formats = written.checked(len(inputs), output.as_json)
    planned = written.plan(inputs, formats) if written.to_files else dict.fromkeys(inputs)

    @cache
    def model() -> Engine:
        return start(engine, output)

    task = Task(model, prompt(spoken, context), engine.drafting())
    batch = Batch(len(inputs))
    for number, (file, paths) in enumerate(planned.items(), 1):
        if paths is not None and not paths:
            continue
        place = f" (file {number} of {len(inputs)})" if len(inputs) > 1 else ""
        with batch.one(), survey(file.path, part, output.quiet) as recording:
            job = _Job(task, recording, spoken, engine, output, written, place)
            turns = job.write_files(paths) if paths else job.print(formats[0], len(inputs))
            if not turns and not output.quiet:
                notice(f"{recording.name}: nobody speaks in it ({recording.duration_s:.1f} s)")
            if output.stats:
                notice(figures(together(turns)))
    batch.finish()


def clip_of(text: str) -> tuple[float, float]:
    """(start, end) in seconds of "A-B", each seconds, mm:ss or hh:mm:ss. Raises UsageError."""
    time = r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"\s*{time}\s*-\s*{time}\s*", text)
    if not found:
        raise UsageError(f"--clip {text}: not a part of a recording; write it as 90-150 or 1:30-2:30")
    hours, minutes, seconds, *end = found.groups()
    start, stop = _seconds(hours, minutes, seconds), _seconds(*end)
    if start >= stop:
        raise UsageError(f"--clip {text}: ends before it begins")
    return start, stop


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


@dataclass(frozen=True)
class _Job:
    """One recording and what is wanted of it."""

    task: Task
    recording: Recording
    language: str | None
    engine: EngineOptions
    output: OutputOptions
    written: TranscriptOptions
    place: str

    def write_files(self, paths: dict[str, Path]) -> list[Turn]:
        """The transcript into files, once it is whole; with its turns."""
        with journal(self.task, self.recording, self.engine, self.output) as kept:
            with progress(self.recording, self.place, not self.output.quiet) as told:
                segments, turns = _gathered(watched(hear(self.task, self.recording, kept), told))
            self.written.write(segments, paths)
        if not self.output.quiet:
            notice(f"wrote {', '.join(map(str, paths.values()))}")
        return turns

    def print(self, form: str, files: int) -> list[Turn]:
        """The transcript to stdout, as it grows where its form allows; with its turns."""
        visible = not self.output.quiet and not sys.stdout.isatty()
        with (
            journal(self.task, self.recording, self.engine, self.output) as kept,
            progress(self.recording, self.place, visible) as told,
        ):
            heard = watched(hear(self.task, self.recording, kept), told)
            if self.output.as_json:
                return self._print_object(heard)
            turns: list[Turn] = []
            sys.stdout.write(heading(self.recording.name, files) if form == "txt" else "")
            for piece in transcript.writer(form)(self.written.laid_out(_segments(heard, turns), form)):
                sys.stdout.write(safe(piece))
                sys.stdout.flush()
            return turns

    def _print_object(self, heard: Iterator[Heard]) -> list[Turn]:
        from gemma_cli.views import json

        segments, turns = _gathered(heard)
        fields = json.transcript_object(
            turns,
            self.task.engine().info,
            self.engine.draft_tokens,
            file=self.recording.name,
            language=self.language,
            duration_s=self.recording.duration_s,
            segments=segments,
        )
        json.write(fields, sys.stdout)
        return turns


def _segments(heard: Iterator[Heard], turns: list[Turn]) -> Iterator[Segment]:
    """The segments with something in them; the turns are noted."""
    number = 0
    for piece in heard:
        turns.append(piece.turn)
        if piece.texts[0]:
            yield Segment(number, round(piece.start, 3), round(piece.end, 3), piece.texts[0])
            number += 1


def _gathered(heard: Iterator[Heard]) -> tuple[list[Segment], list[Turn]]:
    turns: list[Turn] = []
    return list(_segments(heard, turns)), turns
