"""A single answer: its schema, and its output for people or programs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import typer

from gemma_cli.common.command_line.setting_options import option
from gemma_cli.common.options import OUTPUT, OutputOptions
from gemma_cli.common.replies import Show, answer_view
from gemma_cli.common.text_input import read_text
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.errors import GemmaError, Interrupted, UsageError
from gemma_cli.core.events import Turn, collect, undrawn
from gemma_cli.core.messages import Request, ToolResponse
from gemma_cli.core.records import dataclass
from gemma_cli.media.files import display_name
from gemma_cli.views import json, plain
from gemma_cli.views.sanitize import safe_json


@dataclass(frozen=True)
class SummaryOptions:
    """Options for the length of thoughts and for a full context."""

    thinking_budget: Annotated[int, *option("thinking-budget")] = 0
    summarize: Annotated[bool, *option("summarize")] = False


@dataclass(frozen=True)
class AnswerOptions(SummaryOptions):
    """Same as ChatLimits, with options for a single answer."""

    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="FILE",
            help="Make the answer one line of JSON that matches this JSON schema.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    stream_json: Annotated[
        bool,
        typer.Option(
            "--stream-json",
            help="While the answer is generated, print each event as one line of JSON.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    receipt: Annotated[
        str | None,
        typer.Option(
            "--receipt",
            metavar="FILE",
            help="Generate an earlier answer again and report any "
            "difference. The receipt comes from gemma serve or --json.",
            rich_help_panel=OUTPUT,
        ),
    ] = None

    def check(self, output: OutputOptions, once: bool) -> None:
        """Raises UsageError for what does not go together."""
        if output.as_json and self.stream_json:
            raise UsageError("--json and --stream-json cannot be combined: give one of them")
        flags = {
            "--json": output.as_json,
            "--stream-json": self.stream_json,
            "--schema": self.schema,
            "--receipt": self.receipt,
        }
        if not once and (flag := next((flag for flag, given in flags.items() if given), None)):
            raise UsageError(f"{flag} applies only to single answers: give a PROMPT, or pipe text into gemma chat")


@dataclass(frozen=True)
class ReplyLimits:
    """The limits of every reply to a question. schema: as json_schema.checked gives it."""

    schema: str | None = None
    thinking_budget: int | None = None

    def __call__(self, request: Request) -> Request:
        return replace(request, schema=self.schema, thinking_budget=self.thinking_budget)

    def complete(self, turn: Turn) -> None:
        """Raises GemmaError where JSON was cut off."""
        if self.schema is not None and turn.finish_reason == "length":
            raise GemmaError(
                "the JSON is incomplete, because the reply reached --max-tokens "
                f"({turn.usage.completion_tokens}): raise --max-tokens"
            )


def held(options: AnswerOptions) -> ReplyLimits:
    """Raises InputError naming the schema's file and the place in it that is wrong."""
    if options.schema is None:
        return ReplyLimits(None, options.thinking_budget or None)
    from gemma_cli.core.json_schema import checked

    text = read_text(options.schema)
    return ReplyLimits(checked(text, display_name(options.schema)), options.thinking_budget or None)


Told = Callable[[], Mapping[str, Any]]
"""Makes the object of an answer, which takes time: the receipt in it has hashes of files."""


def _nothing(_told: object) -> None:
    """Print nothing."""


@dataclass(frozen=True)
class AnswerOutput:
    """How an answer is told: who speaks, the events of each reply, what tools respond, and the object of it all.

    unfinished: is given the object where the model only called tools and an error follows.
    """

    show: Show
    begin: Callable[[EngineInfo], None] = _nothing
    responded: Callable[[ToolResponse], None] = _nothing
    end: Callable[[Told], None] = _nothing
    unfinished: Callable[[Told], None] = _nothing


def form(options: AnswerOptions, output: OutputOptions, show_thinking: bool | None, seed: int) -> AnswerOutput:
    """The form that the options ask for; all of them write to stdout."""
    if output.as_json:

        def write(told: Told) -> None:
            json.write(told(), sys.stdout)

        return AnswerOutput(partial(collect, draw=undrawn), end=write, unfinished=write)
    if options.stream_json:
        return AnswerOutput(
            partial(json.stream, out=sys.stdout),
            begin=lambda info: json.write(json.start_event(info, seed), sys.stdout),
            responded=lambda response: json.write(json.response_event(response), sys.stdout),
            end=lambda told: json.write({"type": "done", **told()}, sys.stdout),
        )
    if options.schema is not None:
        thoughts = io.StringIO() if show_thinking is False else sys.stderr
        return AnswerOutput(partial(plain.show, out=sys.stdout, err=thoughts, clean=safe_json))
    return AnswerOutput(answer_view(show_thinking))


@contextmanager
def errors_told(options: AnswerOptions) -> Iterator[None]:
    """Print the error that ends the run as an event, with --stream-json."""
    try:
        yield
    except Interrupted:
        raise
    except GemmaError as error:
        if options.stream_json:
            json.write(json.error_event(error), sys.stdout)
        raise
