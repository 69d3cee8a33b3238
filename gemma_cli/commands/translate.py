"""`gemma translate`: speech or text into another language."""

from __future__ import annotations

import sys
from io import BufferedReader
from typing import Annotated, cast

import typer

from gemma_cli import transcript
from gemma_cli.commands._common import as_text
from gemma_cli.commands._spoken import Show, Speech, translate_speech
from gemma_cli.commands._written import Writing, translate_text
from gemma_cli.errors import UsageError
from gemma_cli.languages import language, language_or_auto
from gemma_cli.media.files import STDIN, open_input
from gemma_cli.options import OUTPUT, EngineOptions, OutputOptions, examples, grouped

UNKNOWN_SOURCE = "its original language"
"""Stands in the speech prompt for a source that was not named, in the words of the card's transcription prompt."""

HEAD = 4096
"""Bytes that tell text from sound."""

EXAMPLES = examples(
    "gemma translate README.md --to English > README.en.md",
    "gemma translate film.de.srt --from German --to English > film.en.srt",
    "gemma translate interview.mp3 --from French --to English --format srt --show both > interview.srt",
    "echo 'Good morning.' | gemma translate - --to de",
    "gemma translate speech.wav --to Spanish --json | jq -r .transcript",
)

app = typer.Typer(add_completion=False)


def speech_prompt(source: str, target: str) -> str:
    """The speech-translation prompt of the Gemma 4 model card: transcript, newline, `TARGET: `, translation."""
    return (
        f"Transcribe the following speech segment in {source}, then translate it into {target}.\n"
        f"When formatting the answer, first output the transcription in {source}, then one newline, "
        f"then output the string '{target}: ', then the translation in {target}."
    )


def text_prompt(text: str, source: str | None, target: str) -> str:
    """Ask for the translation of a text and nothing else; None leaves the source language to the model."""
    origin = f" from {source}" if source else ""
    return f"Translate the following text{origin} into {target}. Only output the translation.\n\n{text}"


@app.command(epilog=EXAMPLES)
@grouped
def translate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A sound or a UTF-8 text file; - is stdin.")],
    to: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="By name or code: German, de.")],
    engine: EngineOptions,
    output: OutputOptions,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="LANGUAGE", help="Default: auto, the model tells by itself.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(transcript.WRITERS),
            help="Form of what is said. Default: txt. A text keeps its own.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    show: Annotated[
        Show | None,
        typer.Option(
            "--show",
            help="Of speech: its translation, which is the default, or the transcript.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Translate speech or text; the content tells which of them FILE is.

    Of markdown, srt and vtt files only the words are translated. Text from stdin is translated line by line.
    """
    target = language(to).name
    source = language_or_auto(origin)
    if form:
        transcript.writer(form)
    if output.as_json and (form or show):
        raise UsageError("--json holds transcript and translation in a form of its own: leave out --format and --show")
    head = beginning(file)
    if not is_text(head):
        prompt = speech_prompt(source or UNKNOWN_SOURCE, target)
        translate_speech(file, Speech(source, target, prompt, form or "txt", show or "translation"), engine, output)
    elif form or show:
        raise UsageError(f"{file}: a text; --format and --show are for speech")
    else:
        writing = Writing(source, target, lambda text: text_prompt(text, source, target))
        translate_text(file, writing, head, engine, output)


def beginning(file: str) -> bytes:
    """The first bytes of a file, or of what waits on stdin, from which nothing is taken. Raises InputError."""
    if file == STDIN and sys.stdin is not None and not sys.stdin.isatty():
        return cast("BufferedReader", sys.stdin.buffer).peek(HEAD)[:HEAD]
    with open_input(file) as opened:
        return opened.read(HEAD)


def is_text(head: bytes) -> bool:
    """Whether it can be the beginning of a text, of which the last character may be cut in two."""
    return any(as_text(head[: len(head) - cut]) is not None for cut in range(4))
