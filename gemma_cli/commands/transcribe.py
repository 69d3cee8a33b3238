"""`gemma transcribe`: speech to text in its own language."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Annotated

import typer

from gemma_cli import languages, transcript
from gemma_cli.commands._common import Batch, figures, heading, notice, start
from gemma_cli.commands._recording import Heard, Recording, hear, survey, together, watched
from gemma_cli.engines import Engine
from gemma_cli.errors import UsageError
from gemma_cli.events import Turn
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
    "ffmpeg -v error -i video.mp4 -f wav - | gemma transcribe -",
    "gemma transcribe *.ogg --json > transcripts.jsonl",
)
Writer = Callable[[Iterable[Segment]], Iterator[str]]

OF_ONE_FILE = ("srt", "vtt", "tsv")

app = typer.Typer(add_completion=False)


def prompt(language: str | None) -> str:
    """The speech-recognition prompt of the Gemma 4 model card; None lets the model hear which language it is."""
    if language is None:
        request = "Transcribe the following speech segment in its original language."
    else:
        request = f"Transcribe the following speech segment in {language} into {language} text."
    return f"{request}\n\n{FORMATTING}"


@app.command(epilog=EXAMPLES)
@grouped
def transcribe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="WAV, FLAC, OGG, MP3, AIFF; - is stdin.")],
    engine: EngineOptions,
    output: OutputOptions,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="What is spoken, by name or code. Default: the model hears it."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="|".join(transcript.WRITERS), help="Form of the transcript.")
    ] = "txt",
) -> None:
    """Write down what is said in sound files of any length."""
    spoken = languages.language(language).name if language else None
    write = transcript.writer(form)
    if len(files) > 1 and form in OF_ONE_FILE:
        raise UsageError(f"--format {form} holds one recording: give one FILE at a time, or --json for all of them")

    @cache
    def model() -> Engine:
        return start(engine, output)

    batch = Batch(len(files))
    for file in files:
        with batch.one():
            recording = survey(file)
            heard = watched(hear(model(), recording, prompt(spoken), engine.drafting()), recording, output)
            if output.as_json:
                turns = _write_object(heard, model(), recording, spoken, engine.draft_tokens)
            else:
                title = heading(recording.name, len(files)) if form == "txt" else ""
                turns = _write(heard, write, title)
            if output.stats:
                notice(figures(together(turns)))
    batch.finish()


def _write(heard: Heard, write: Writer, title: str) -> list[Turn]:
    """The transcript as it grows, in one of the formats; with its turns."""
    turns: list[Turn] = []

    def segments() -> Iterator[Segment]:
        for segment, turn in heard:
            turns.append(turn)
            yield segment

    sys.stdout.write(title)
    for piece in write(segments()):
        sys.stdout.write(safe(piece))
        sys.stdout.flush()
    return turns


def _write_object(
    heard: Heard, engine: Engine, recording: Recording, spoken: str | None, draft_tokens: int
) -> list[Turn]:
    """The JSON object of one recording; with its turns."""
    from gemma_cli.views import json

    segments, turns = zip(*heard, strict=True)
    fields = json.transcript_object(
        turns,
        engine.info,
        draft_tokens,
        file=recording.name,
        language=spoken,
        duration_s=recording.duration_s,
        segments=segments,
    )
    json.write(fields, sys.stdout)
    return list(turns)
