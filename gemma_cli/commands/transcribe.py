"""`gemma transcribe`: speech to text in its own language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Annotated

import typer

from gemma_cli.common.batch import Batch
from gemma_cli.common.command_line.setting_options import option
from gemma_cli.common.opening import start
from gemma_cli.common.options import ManyOptions, OutputOptions, examples, grouped
from gemma_cli.common.output_files import told_what_is_written
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.media.audio import Part
from gemma_cli.media.input_files import InputFile, sound_files
from gemma_cli.speech import instructions
from gemma_cli.speech.clip_options import PartOptions
from gemma_cli.speech.output import TranscriptOptions
from gemma_cli.speech.pipeline import Task
from gemma_cli.speech.prefetch import Opening, Prefetcher
from gemma_cli.speech.resume import kept
from gemma_cli.speech.speakers import Speakers, openings_by_channel, write_by_channel
from gemma_cli.speech.transcript_output import TranscriptOutput
from gemma_cli.speech.word_options import WordOptions
from gemma_cli.text.languages import language_or_auto

EXAMPLES = examples(
    "gemma transcribe interview.wav",
    "gemma transcribe talk.mp3 --language German --format srt > talk.srt",
    "gemma transcribe recordings/ -o transcripts -f txt -f srt --skip-existing",
    "gemma transcribe lecture.m4a --clip 10:00-12:30 --context 'Daliri, Musco, Suresh'",
    "gemma transcribe call.wav --speakers channels=Anna,Ben --format vtt --word-times",
    "gemma transcribe https://example.org/talk.mp3 --language German",
    "gemma transcribe --mic --language English -o notes",
    "ffmpeg -v error -i video.mp4 -f wav - | gemma transcribe -",
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def transcribe(
    engine: ManyOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    words: WordOptions,
    heard: PartOptions,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE", help="Sound files, videos, folders, wildcard patterns or http(s) addresses; - reads stdin."
        ),
    ] = None,
    language: Annotated[str | None, *option("language")] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", metavar="TEXT", help="Names and terms that may occur in the recording, spelled correctly."
        ),
    ] = None,
    speakers: Annotated[
        str | None,
        typer.Option(
            "--speakers",
            metavar="channels[=NAME,...]",
            help="Label each segment with a speaker, when each speaker has a separate channel.",
        ),
    ] = None,
    mic: Annotated[
        bool, typer.Option("--mic", help="Transcribe speech from the microphone until you press Ctrl-C.")
    ] = False,
) -> None:
    """Transcribe speech from the microphone, or from audio and video files of any length."""
    spoken = language_or_auto(language)
    if mic == bool(files):
        raise UsageError(
            "--mic and files cannot be combined: leave out --mic or the files"
            if mic
            else "no input: name a file, give - to read stdin, or give --mic"
        )

    @cache
    def model() -> Engine:
        return start(engine, output)

    task = Task(model, instructions.transcription(spoken, context), engine.drafting())
    by_channel = Speakers.of(speakers) if speakers is not None else None
    if by_channel and (mic or heard.channel):
        raise UsageError(
            f"--speakers needs a file and all channels of the file: leave out {'--mic' if mic else '--channel'}"
        )
    if mic:
        _dictate(task, spoken, engine, output, written, words, heard)
    else:
        _hear_files(files or [], task, spoken, engine, output, written, words, heard.part(), by_channel)


def _dictate(
    task: Task,
    language: str | None,
    engine: ManyOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    words: WordOptions,
    heard: PartOptions,
) -> None:
    from gemma_cli.media.sound.microphone import check_microphone, microphone
    from gemma_cli.speech.dictation import Dictation, ended_by_signals, named_by_time

    if heard.clip:
        raise UsageError("--clip applies only to files: leave out --clip or --mic")
    formats = written.checked(1, output.as_json)
    task = replace(task, word_times=words.wanted(formats, output.as_json))
    name = named_by_time()
    paths = written.plan([name], formats)[name] if written.to_files else {}
    out = TranscriptOutput(task, language, engine, output, written, formats, many=False, words=words)
    dictation = Dictation(out, paths)
    check_microphone()
    task.engine()  # who is asked to speak should be heard
    with microphone(heard.channel) as incoming, ended_by_signals(incoming.stop):
        dictation.take(incoming)


def _hear_files(
    files: list[str],
    task: Task,
    language: str | None,
    engine: ManyOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    words: WordOptions,
    part: Part,
    speakers: Speakers | None,
) -> None:
    inputs = sound_files(files)
    formats = written.checked(len(inputs), output.as_json)
    task = replace(task, word_times=words.wanted(formats, output.as_json))
    planned = written.plan(inputs, formats) if written.to_files else dict.fromkeys(inputs)
    wanted = [(number, file, paths) for number, (file, paths) in enumerate(planned.items(), 1) if paths != {}]
    openings = _openings([file for _, file, _ in wanted], task, output, part, by_channel=speakers is not None)
    batch = Batch(len(inputs))
    out = TranscriptOutput(task, language, engine, output, written, formats, many=len(inputs) > 1, words=words)
    progress = out.progress(len(inputs))
    done: list[object] = []
    with told_what_is_written(done, output.quiet), Prefetcher(task, openings) as ahead:
        for number, _, paths in wanted:
            with batch.one():
                if speakers:
                    write_by_channel(out, ahead, speakers, paths, progress, number)
                else:
                    with ahead.following() as (recording, answers):
                        out.write(recording, answers, paths, progress, number)
                    recording.check_whole()
                done += [paths] if paths else []
    progress.finish()
    batch.finish()


def _openings(
    files: list[InputFile], task: Task, output: OutputOptions, part: Part, by_channel: bool
) -> Iterator[Opening]:
    """Yield how to open each file, or each channel of each file."""
    for file in files:
        if by_channel:
            yield from openings_by_channel(partial(kept, task, file.path, output), part)
        else:
            yield kept(task, file.path, output, part)
