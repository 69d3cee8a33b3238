"""`gemma translate`: speech or text into another language."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache
from io import BufferedReader
from pathlib import PurePath
from typing import Annotated, Any, cast

import typer

from gemma_cli.commands.translate_parts.text import Texts, TextTranslation
from gemma_cli.common.batch import Batch
from gemma_cli.common.command_line.setting_options import option
from gemma_cli.common.opening import start
from gemma_cli.common.options import OUTPUT, ManyOptions, OutputOptions, examples, grouped
from gemma_cli.common.output_files import OutputNaming, told_what_is_written
from gemma_cli.common.text_input import as_text, checked_encoding
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media.fetching.fetch import is_address
from gemma_cli.media.files import STDIN, open_input
from gemma_cli.media.input_files import SOUND, TABLES, TEXT, InputFile, files_meant
from gemma_cli.speech import instructions
from gemma_cli.speech.clip_options import PartOptions
from gemma_cli.speech.output import TranscriptOptions
from gemma_cli.speech.pipeline import Task
from gemma_cli.speech.prefetch import Prefetcher
from gemma_cli.speech.resume import kept
from gemma_cli.speech.translation import Show, TranslationOutput, parse
from gemma_cli.text.data_formats import may_be_data
from gemma_cli.text.encodings import may_be_text
from gemma_cli.text.languages import Language, language, language_or_auto
from gemma_cli.text.timed.formats import timed_format

HEAD = 4096
"""Bytes that tell text from sound."""

EXAMPLES = examples(
    "gemma translate README.md --to English > README.en.md",
    "gemma translate film.de.srt --from German --to English > film.en.srt",
    "gemma translate interview.mp3 --from French --to English --format srt --show both > interview.srt",
    "echo 'Good morning.' | gemma translate - --to de",
    "gemma translate messages.json --field '**' --from English --to French > messages.fr.json",
    "gemma translate talks/ --to German -o translated -f srt -f txt --skip-existing",
    "gemma translate speech.wav --to Spanish --json | jq -r .transcript",
)

app = typer.Typer(add_completion=False)


def text_prompt(text: str, source: str | None, target: str, context: str | None = None) -> str:
    """Ask for the translation of a text and nothing else; None leaves the source language to the model."""
    origin = f" from {source}" if source else ""
    request = f"Translate the following text{origin} into {target}. Only output the translation."
    return f"{request}{instructions.spelling(context)}\n\n{text}"


@app.command(epilog=EXAMPLES)
@grouped
def translate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="Sound or text files, folders, wildcard patterns or http(s) addresses; - reads stdin."
        ),
    ],
    engine: ManyOptions,
    output: OutputOptions,
    written: TranscriptOptions,
    heard: PartOptions,
    to: Annotated[str | None, *option("to")] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LANGUAGE",
            help="Language of the input, as a name or a code. Default: auto (the model detects the language).",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", metavar="TEXT", help="Names and terms that may occur in the input, spelled correctly."
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", metavar="NAME", help="Encoding of texts that are not UTF-8. Default: detected."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="NAME",
            help="Translate the values of this JSON key or table column (CSV, TSV); repeatable.",
        ),
    ] = None,
    show: Annotated[
        Show | None,
        typer.Option(
            "--show",
            help="What to print when the input is speech. Default: translation.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Translate speech or text. The type of a file is detected from the file's content.

    In Markdown, HTML, PO, XLIFF and subtitles (srt, vtt, ass, ssa, sbv, ttml, sub, lrc), only the words are
    translated. The output has the encoding of the input. Prose from stdin is translated line by line.
    """
    if to is None:
        raise UsageError("no target language: give --to LANGUAGE, or set a default with: gemma config set to LANGUAGE")
    target, source, encoding = language(to), language_or_auto(origin), checked_encoding(encoding)
    if output.as_json and show:
        raise UsageError("--json always prints both the transcript and the translation: leave out --show")
    if show == "both" and written.lines:
        raise UsageError("--max-line-count cannot be combined with --show both: leave out one of the two options")
    fields = tuple(field or ())
    named = files_meant(
        files, TABLES if fields else SOUND | TEXT, "tables or JSON" if fields else "sound or text files"
    )
    formats = written.checked(len(named), output.as_json)
    inputs = [_looked_at(file, encoding, bool(fields)) for file in named]
    if all(one.text for one in inputs) and (written.formats or show or heard != PartOptions()):
        raise UsageError(
            f"{named[0].path} is a text, and --format, --show, --clip "
            "and --channel apply only to speech: leave them out"
        )

    @cache
    def model() -> Engine:
        return start(engine, output)

    prompt = instructions.translation(source or instructions.UNKNOWN_SOURCE, target.name, context)
    task = Task(model, prompt, engine.drafting(), lambda reply: parse(reply, target.name))
    writing = TextTranslation(source, target.name, lambda text: text_prompt(text, source, target.name, context))
    many = len(inputs) > 1
    speech = TranslationOutput(
        task, source, engine, output, written, formats, many, target=target.name, show=show or "translation"
    )
    jobs = _Jobs(speech, Texts(writing, model, engine, output, many, encoding, fields))
    jobs.run(_planned(inputs, written, formats, source, target), heard)


@dataclass(frozen=True)
class _Input:
    """text: whether it is one, going by the beginning of it. error: why it has none. paths: the files to write."""

    file: InputFile
    text: bool
    head: bytes = b""
    error: InputError | None = None
    paths: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Jobs:
    speech: TranslationOutput
    texts: Texts

    def run(self, inputs: list[_Input], heard: PartOptions) -> None:
        """One input after the other; pieces of several recordings may be heard at once. Raises GemmaError."""
        task, output = self.speech.task, self.speech.output
        batch = Batch(len(inputs))
        wanted = [one for one in inputs if one.paths != {}]
        spoken = [one.file for one in wanted if not (one.text or one.error)]
        openings = [kept(task, file.path, output, heard.part()) for file in spoken]
        progress = self.speech.progress(len(inputs))
        done: list[object] = []
        with told_what_is_written(done, output.quiet), Prefetcher(task, openings) as ahead:
            for number, one in enumerate(wanted, 1):
                with batch.one():
                    if one.error:
                        raise one.error
                    if one.text:
                        with progress.paused():
                            self._translate_text(one)
                    else:
                        with ahead.following() as (recording, answers):
                            self.speech.write(recording, answers, one.paths, progress, number)
                    done += [one] if one.paths else []
                    if not one.text:
                        recording.check_whole()
        progress.finish()
        batch.finish()

    def _translate_text(self, one: _Input) -> None:
        lines = one.file.path == STDIN and not (self.texts.many or one.paths or self.texts.output.as_json)
        if lines and self.texts.encoding is None and not self.texts.fields and _is_prose(one.head):
            self.texts.lines()
        else:
            self.texts.document(one.file, next(iter(one.paths.values())) if one.paths else None)


def _planned(
    inputs: list[_Input], written: TranscriptOptions, formats: tuple[str, ...], source: str | None, target: Language
) -> list[_Input]:
    """The inputs with the files to write for each: film.de.srt becomes film.en.srt if it is known to be German."""
    if not written.to_files:
        return inputs
    code = f".{language(source).code}" if source else None
    wanted = {_without(code, one.file): _own_form(one.file) if one.text else formats for one in inputs}
    planned = written.plan_each(wanted, OutputNaming("{parent}/{stem}.{language}.{format}", {"language": target.code}))
    return [replace(one, paths=planned[_without(code, one.file)]) for one in inputs]


def _own_form(file: InputFile) -> tuple[str, ...]:
    return (file.relative.suffix.removeprefix(".") or "txt",)


def _without(code: str | None, file: InputFile) -> InputFile:
    name = file.relative
    if not code or not name.stem.lower().endswith(code.lower()) or len(name.stem) == len(code):
        return file
    return replace(file, relative=PurePath(name.parent, name.stem[: -len(code)] + name.suffix))


def _looked_at(file: InputFile, encoding: str | None, table: bool) -> _Input:
    """Return whether an input is text. An address is judged by its name, as it is not fetched yet.

    table: whether it has to be JSON or a table.
    """
    suffixed = table or file.relative.suffix.lower() in TEXT | TABLES
    if is_address(file.path):
        return _Input(file, suffixed)
    try:
        head = beginning(file.path)
    except InputError as error:
        return _Input(file, False, error=error)
    return _Input(file, encoding is not None or table or is_text(head) or suffixed, head)


def beginning(file: str) -> bytes:
    """The first bytes of a file, or of what waits on stdin, from which nothing is taken. Raises InputError."""
    if file == STDIN and sys.stdin is not None and not sys.stdin.isatty():
        return cast("BufferedReader", sys.stdin.buffer).peek(HEAD)[:HEAD]
    with open_input(file) as opened:
        return opened.read(HEAD)


def is_text(head: bytes) -> bool:
    """Return whether a file that begins so is a text. The last character may be cut in two."""
    return _utf8(head) is not None or may_be_text(head)


def _is_prose(head: bytes) -> bool:
    """Return whether text can be translated line by line: UTF-8 without times or other structure."""
    text = _utf8(head)
    return text is not None and timed_format("", text) is None and not may_be_data(text)


def _utf8(head: bytes) -> str | None:
    texts = (as_text(head[: len(head) - cut]) for cut in range(4))
    return next((text for text in texts if text is not None), None)
