"""`gemma transcribe`: speech to text in its own language."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.batch import Batch
from gemma_cli.common.notices import figures, heading, notice
from gemma_cli.common.opening import start
from gemma_cli.common.options import EngineOptions, OutputOptions, examples, grouped
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Turn
from gemma_cli.media.audio import Part
from gemma_cli.media.input_files import sound_files
from gemma_cli.speech import instructions
from gemma_cli.speech.clip_options import PartOptions
from gemma_cli.speech.output import TranscriptOptions, told_what_is_written
from gemma_cli.speech.pipeline import Answer, Task, Utterance, together, understood
from gemma_cli.speech.prefetch import Prefetcher
from gemma_cli.speech.progress import progress, watched
from gemma_cli.speech.recording import Recording
from gemma_cli.speech.resume import kept
from gemma_cli.speech.segments import segments_of
from gemma_cli.text import transcript
from gemma_cli.text.languages import language_or_auto
from gemma_cli.text.transcript import Segment
from gemma_cli.views.sanitize import safe

EXAMPLES = examples(
    "gemma transcribe interview.wav",
    "gemma transcribe talk.mp3 --language German --format srt > talk.srt",
    "gemma transcribe recordings/ -o transcripts -f txt -f srt --skip-existing",
    "gemma transcribe lecture.m4a --clip 10:00-12:30 --context 'Daliri, Musco, Suresh'",
    "gemma transcribe https://example.org/talk.mp3 --language German",
    "gemma transcribe --mic --language English -o notes",
    "ffmpeg -v error -i video.mp4 -f wav - | gemma transcribe -",
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def transcribe(
    engine: EngineOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    heard: PartOptions,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Sound files, films, folders, patterns, http(s) addresses; - is stdin."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="What is spoken, by name or code. Default: auto, the model hears it."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="TEXT", help="Names and words that may occur, as they are spelled."),
    ] = None,
    mic: Annotated[bool, typer.Option("--mic", help="What is said into the microphone, until Ctrl-C.")] = False,
) -> None:
    """Write down what is said in sound files of any length, or into the microphone."""
    spoken = language_or_auto(language)
    if mic == bool(files):
        raise UsageError("--mic takes no files" if mic else "no input: name a file, use - for stdin, or pass --mic")

    @cache
    def model() -> Engine:
        return start(engine, output)

    task = Task(model, instructions.transcription(spoken, context), engine.drafting())
    if mic:
        _dictate(task, spoken, engine, output, written, heard)
    else:
        _hear_files(files or [], task, spoken, engine, output, written, heard.part())


def _dictate(
    task: Task,
    language: str | None,
    engine: EngineOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    heard: PartOptions,
) -> None:
    from gemma_cli.media.microphone import check_microphone, microphone
    from gemma_cli.speech.dictation import Dictation, ended_by_signals, named_by_time

    if heard.clip:
        raise UsageError("--clip is about recordings; --mic has no end yet")
    formats = written.checked(1, output.as_json)
    name = named_by_time()
    paths = written.plan([name], formats)[name] if written.to_files else {}
    dictation = Dictation(task, language, engine, output, written, "txt" if paths else formats[0], paths)
    check_microphone()
    task.engine()  # who is asked to speak should be heard
    with microphone(heard.channel) as incoming, ended_by_signals(incoming.stop):
        dictation.take(incoming)


def _hear_files(
    files: list[str],
    task: Task,
    language: str | None,
    engine: EngineOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    part: Part,
) -> None:
    inputs = sound_files(files)
    formats = written.checked(len(inputs), output.as_json)
    planned = written.plan(inputs, formats) if written.to_files else dict.fromkeys(inputs)
    wanted = [(number, file, paths) for number, (file, paths) in enumerate(planned.items(), 1) if paths != {}]
    openings = [kept(task, file.path, output, part) for _, file, _ in wanted]
    batch = Batch(len(inputs))
    done: list[object] = []
    with told_what_is_written(done, output.quiet), Prefetcher(task, openings) as ahead:
        for number, _, paths in wanted:
            place = f" (file {number} of {len(inputs)})" if len(inputs) > 1 else ""
            with batch.one(), ahead.following() as (recording, answers):
                job = _Job(task, recording, language, engine, output, written, place)
                turns = job.write_files(answers, paths) if paths else job.print(answers, formats[0], len(inputs))
                if not turns and not output.quiet:
                    notice(f"{recording.name}: no speech found ({recording.duration_s:.1f} s)")
                if output.stats:
                    notice(figures(together(turns)))
                done += [paths] if paths else []
    batch.finish()


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

    def write_files(self, answers: Iterator[Answer], paths: dict[str, Path]) -> list[Turn]:
        """The transcript into files, once it is whole; with its turns."""
        with progress(self.recording, self.place, not self.output.quiet) as told:
            segments, turns = _gathered(watched(understood(self.task, self.recording.name, answers), told))
        self.written.write(segments, paths)
        if not self.output.quiet:
            notice(f"wrote {', '.join(map(str, paths.values()))}")
        return turns

    def print(self, answers: Iterator[Answer], form: str, files: int) -> list[Turn]:
        """The transcript to stdout, as it grows where its form allows; with its turns."""
        visible = not self.output.quiet and not sys.stdout.isatty()
        with progress(self.recording, self.place, visible) as told:
            heard = watched(understood(self.task, self.recording.name, answers), told)
            if self.output.as_json:
                return self._print_object(heard)
            turns: list[Turn] = []
            sys.stdout.write(heading(self.recording.name, files) if form == "txt" else "")
            for piece in transcript.writer(form)(self.written.laid_out(segments_of(heard, turns), form)):
                sys.stdout.write(safe(piece))
                sys.stdout.flush()
            return turns

    def _print_object(self, heard: Iterator[Utterance]) -> list[Turn]:
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


def _gathered(heard: Iterator[Utterance]) -> tuple[list[Segment], list[Turn]]:
    turns: list[Turn] = []
    return list(segments_of(heard, turns)), turns
