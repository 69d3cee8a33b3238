"""`gemma translate`: speech or text into another language."""

from __future__ import annotations

import sys
from dataclasses import replace
from io import BufferedReader
from typing import Annotated, cast

import typer

from gemma_cli import transcript
from gemma_cli.commands._common import as_text, complete, draw, read_text, start, verbatim
from gemma_cli.commands._spoken import Show, Speech, translate_speech
from gemma_cli.errors import InputError
from gemma_cli.languages import language
from gemma_cli.media.files import STDIN, display_name, open_input
from gemma_cli.messages import GREEDY, Request, ask
from gemma_cli.options import OUTPUT, EngineOptions, OutputOptions, examples, grouped

UNKNOWN_SOURCE = "its original language"
"""Stands in the speech prompt for a source that was not named, in the words of the card's transcription prompt."""

HEAD = 4096
"""Bytes that tell text from sound."""

EXAMPLES = examples(
    "gemma translate letter.de.txt --to English",
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
        str | None, typer.Option("--from", metavar="LANGUAGE", help="Default: the model tells by itself.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", "-f", metavar="|".join(transcript.WRITERS), help="Of what was said.", rich_help_panel=OUTPUT
        ),
    ] = "txt",
    show: Annotated[
        Show,
        typer.Option("--show", help="Of speech: its translation, its transcript, or both.", rich_help_panel=OUTPUT),
    ] = "translation",
) -> None:
    """Translate speech or text; the content tells which of them FILE is."""
    target = language(to).name
    source = language(origin).name if origin else None
    transcript.writer(form)
    if begins_like_text(file):
        _translate_text(file, source, target, engine, output)
    else:
        prompt = speech_prompt(source or UNKNOWN_SOURCE, target)
        translate_speech(file, Speech(source, target, prompt, form, show), engine, output)


def begins_like_text(file: str) -> bool:
    """Whether a file, or what waits on stdin, can be text; nothing is taken from stdin. Raises InputError."""
    if file == STDIN and sys.stdin is not None and not sys.stdin.isatty():
        head = cast("BufferedReader", sys.stdin.buffer).peek(HEAD)[:HEAD]
    else:
        with open_input(file) as opened:
            head = opened.read(HEAD)
    return any(as_text(head[: len(head) - cut]) is not None for cut in range(4))  # its last character may be cut in two


def _translate_text(file: str, source: str | None, target: str, options: EngineOptions, output: OutputOptions) -> None:
    text = read_text(file).strip()
    if not text:
        raise InputError(f"{display_name(file)}: nothing but blanks to translate")
    limit = len(text.encode()) + 64  # no translation has more tokens than its original has bytes
    sampling = replace(GREEDY, max_tokens=limit)
    request = Request(ask(text_prompt(text, source, target)), sampling, options.drafting())
    about = {"file": display_name(file), "language": source, "target_language": target}
    absent = {"transcript": None, "duration_s": None, "segments": None}
    complete(draw(start(options, output), request, output, verbatim, about | absent))
