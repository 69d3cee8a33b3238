"""`gemma describe-video`: what happens in videos."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import Annotated

import typer

from gemma_cli.common.batch import Batch
from gemma_cli.common.inputs import opened
from gemma_cli.common.notices import figures, heading, notice
from gemma_cli.common.opening import start
from gemma_cli.common.options import EngineOptions, OutputOptions, examples, grouped
from gemma_cli.common.output_files import OutputNaming, told_what_is_written
from gemma_cli.common.resuming import resumable
from gemma_cli.core.engine import Engine
from gemma_cli.core.events import together
from gemma_cli.core.messages import FRAME_BUDGET
from gemma_cli.media.files import display_name
from gemma_cli.media.input_files import InputFile, video_files
from gemma_cli.store.journal import Journal
from gemma_cli.vision import instructions, video_output
from gemma_cli.vision.options import GreedySampling, QuestionOptions
from gemma_cli.vision.task import Task
from gemma_cli.vision.video_options import VideoOptions, WatchOptions
from gemma_cli.vision.watching import VideoDescription, Watcher

PROMPT = instructions.VIDEO

EXAMPLES = examples(
    "gemma describe-video holiday.mp4",
    "gemma describe-video lecture.mkv --chapters --summary --format vtt --format json -o chapters",
    "gemma describe-video clip.mov --clip 1:30-2:00 --fps 2 --prompt 'What does the dog do?'",
    "gemma describe-video videos/ -o texts --scenes --skip-existing",
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def describe_video(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Videos, folders, wildcard patterns or http(s) addresses; - reads stdin."),
    ],
    engine: EngineOptions,
    sampling: GreedySampling,
    output: OutputOptions,
    written: VideoOptions,
    watched: WatchOptions,
    question: QuestionOptions,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help=f'Question about each video. Default: "{PROMPT}"')
    ] = None,
) -> None:
    """Describe videos from pictures and sound, in one text or in chapters."""
    watching = watched.watching()
    asked = instructions.instruction(PROMPT if prompt is None else prompt, question.length, question.language)

    @cache
    def model() -> Engine:
        return start(engine, output)

    schema = question.checked_schema()
    task = Task(model, asked, sampling.sampling(), engine.drafting(), FRAME_BUDGET, schema)
    inputs = video_files(files)
    formats = written.checked(len(inputs), output.as_json)
    written.check_parts(formats, watching.parts)
    planned = written.plan_each(dict.fromkeys(inputs, formats), OutputNaming()) if written.to_files else {}
    wanted = [file for file in inputs if planned.get(file) != {}]
    batch, done = Batch(len(inputs)), list[object]()
    keeps = len(inputs) > 1 or watching.parts
    with told_what_is_written(done, output.quiet), _journal(task, (inputs, watching), keeps, output.quiet) as journal:
        watcher = Watcher(task, watching, journal, output.quiet)
        for file in wanted:
            with batch.one():
                printing = None if file in planned or output.as_json else formats[0]
                video = _watched(file, watcher, printing, output, many=len(inputs) > 1)
                if paths := planned.get(file):
                    video_output.save(video, paths)
                    done.append(file)
                if output.as_json:
                    video_output.write_object(video, task, engine)
                if output.stats:
                    notice(f"{video.name}: {figures(together(video.turns))}")
    if done and not output.quiet:
        notice(f"described {len(done)} video{'s' if len(done) > 1 else ''}")
    batch.finish()


@contextmanager
def _journal(task: Task, named: object, keeps: bool, quiet: bool) -> Iterator[Journal]:
    """Yield what an earlier run of the same command had finished; one video in one piece has nothing to go on from."""
    if not keeps:
        yield Journal()
        return
    with resumable(task.key(repr(named)), "describe-video", "answers", quiet) as journal:
        yield journal


def _watched(
    file: InputFile, watcher: Watcher, printing: str | None, output: OutputOptions, many: bool
) -> VideoDescription:
    """Return what is said about a video, printed in a format or not at all; text is printed as it comes."""
    name = display_name(file.path)
    video = VideoDescription(name)
    with opened(file.path, output.quiet) as handle, closing(watcher.watch(handle, name)) as growing:
        told = 0
        for video in growing:
            if printing == "txt":
                _say((heading(name, 2 if many and not told else 1), *map(video_output.text_of, video.chapters[told:])))
                told = len(video.chapters)
    if printing == "txt" and video.summary:
        _say((f"{video.summary}\n",))
    elif printing and printing != "txt":
        _say((video_output.FORMATS[printing].document(video, many),))
    return video


def _say(texts: Sequence[str]) -> None:
    from gemma_cli.views.sanitize import safe

    sys.stdout.write(safe("".join(texts)))
    sys.stdout.flush()
