"""`gemma describe-image`: what is in pictures."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.batch import Batch
from gemma_cli.common.command_line.setting_options import option
from gemma_cli.common.notices import heading, notice
from gemma_cli.common.opening import start
from gemma_cli.common.options import ManyOptions, OutputOptions, examples, grouped
from gemma_cli.common.output_files import told_what_is_written
from gemma_cli.common.replies import answer_view, complete, draw, listen
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Image, Video
from gemma_cli.media.input_files import InputFile, picture_files
from gemma_cli.vision import instructions
from gemma_cli.vision.describing import Describer
from gemma_cli.vision.options import DescriptionOptions, GreedySampling, QuestionOptions
from gemma_cli.vision.output import DescriptionOutput, preview_of
from gemma_cli.vision.reading import PictureFacts, read
from gemma_cli.vision.task import Task

PROMPT = instructions.IMAGE

EXAMPLES = examples(
    "gemma describe-image photo.jpg",
    "gemma describe-image photos/ --format jsonl > photos.jsonl",
    "gemma describe-image photos/ --write-alt --length short --skip-existing",
    "gemma describe-image 'scans/*.tiff' -o texts --prompt 'Transcribe this page.' --detail max",
    "gemma describe-image before.png after.png --together --prompt 'What has changed?'",
    "curl -s https://example.org/cat.webp | gemma describe-image -",
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def describe_image(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="Pictures, folders, wildcard patterns or http(s) addresses; - reads stdin."
        ),
    ],
    engine: ManyOptions,
    sampling: GreedySampling,
    output: OutputOptions,
    written: DescriptionOptions,
    question: QuestionOptions,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help=f'Question about each picture. Default: "{PROMPT}"')
    ] = None,
    detail: Annotated[int | None, *option("detail")] = None,
    together: Annotated[bool, typer.Option("--together", help="Ask one question about all pictures together.")] = False,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Describe pictures with identical pixels only once.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="On a terminal, show a thumbnail before each description.")
    ] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="Describe all frames of an animation, not only the first frame.")
    ] = False,
) -> None:
    """Describe images, or answer questions about images."""
    default = instructions.IMAGES if together else PROMPT
    asked = instructions.instruction(default if prompt is None else prompt, question.length, question.language)

    @cache
    def model() -> Engine:
        return start(engine, output)

    task = Task(model, asked, sampling.sampling(), engine.drafting(), detail, question.checked_schema())
    inputs = picture_files(files)
    formats = written.checked(1 if together else len(inputs), output.as_json)
    writing = DescriptionOutput(task, engine, output, formats[0], many=len(inputs) > 1)
    shown = preview and sys.stdout.isatty() and formats[0] == "txt" and not (written.writes or output.as_json)
    if together:
        _together(inputs, writing, written, frames)
    elif shown or (len(inputs) == 1 and not written.writes and formats[0] == "txt" and not output.as_json):
        _one_by_one(inputs, writing, frames, shown)
    else:
        planned = written.plan(inputs, formats) if written.writes else dict.fromkeys(inputs)
        _described(planned, Describer(task, inputs, output.quiet, frames, dedupe), writing)


def _described(
    planned: Mapping[InputFile, dict[str, Path] | None], describer: Describer, writing: DescriptionOutput
) -> None:
    batch = Batch(len(planned))
    wanted = [file for file, paths in planned.items() if paths != {}]
    done: list[object] = []
    printed = None in planned.values()
    with told_what_is_written(done, writing.output.quiet), describer, writing.progress(len(wanted), printed) as advance:
        if printed:
            writing.begin()
        for described in describer.files(wanted):
            paths = planned[described.file]
            with batch.one():
                writing.write(described.pictures, paths)
                done += [paths] if paths else []
                if described.error:
                    raise described.error
            advance(1)
        if printed:
            writing.end()
    if done and not writing.output.quiet:
        notice(f"described {len(done)} file{'s' if len(done) > 1 else ''}")
    batch.finish()


def _one_by_one(inputs: list[InputFile], writing: DescriptionOutput, frames: bool, shown: bool) -> None:
    """Describe the pictures word by word; shown: each below its thumbnail."""
    batch = Batch(len(inputs))
    for file in inputs:
        with batch.one():
            for facts, part in read(file.path, writing.output.quiet, frames):
                if len(inputs) > 1 or facts.page:
                    print(heading(facts.label, 2), end="", flush=True)
                if shown:
                    preview_of(part)
                _ask([facts], [part], writing)
    batch.finish()


def _together(inputs: list[InputFile], writing: DescriptionOutput, written: DescriptionOptions, frames: bool) -> None:
    """Ask once about all pictures."""
    if written.writes or written.formats:
        raise UsageError("--together prints one description on stdout: leave out -o, --format and --write-alt")
    pictures = [one for file in inputs for one in read(file.path, writing.output.quiet, frames)]
    _ask([facts for facts, _ in pictures], [part for _, part in pictures], writing)


def _ask(facts: list[PictureFacts], parts: list[Image | Video], writing: DescriptionOutput) -> None:
    request = writing.task.request(*parts)
    engine = writing.task.engine()
    if writing.output.as_json:
        turn = listen(engine, request)
        writing.tell_together(facts, turn)
    else:
        turn = draw(engine, request, writing.output, answer_view())
    complete(turn)
