"""`gemma chat`: one question from the command line or a pipe, or a conversation on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Annotated

import typer

from gemma_cli.commands._common import (
    MOST_TEXT,
    complete,
    draw,
    notice,
    read_text,
    rendered,
    rendered_with_thoughts,
    start,
    verbatim,
)
from gemma_cli.conversation import Conversation
from gemma_cli.engines import Engine
from gemma_cli.errors import InputError, UsageError
from gemma_cli.events import Turn
from gemma_cli.messages import Part, Text
from gemma_cli.options import EngineOptions, OutputOptions, SamplingOptions, examples, grouped
from gemma_cli.views import repl

EXAMPLES = examples(
    "gemma chat",
    'gemma chat "Why is the sky blue?" --model e4b --think',
    'git diff | gemma chat "Write a commit message." > message.txt',
    'gemma chat --image chart.png "Which year was the best?"',
    "gemma chat --image chart.png --audio question.wav",
    'gemma chat -f notes.md -f plan.md "What is missing?" --json',
)

SHOWS = {None: rendered, True: rendered_with_thoughts, False: verbatim}

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def chat(
    engine: EngineOptions,
    sampling: SamplingOptions,
    output: OutputOptions,
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="Ask this once; without it, talk.")] = None,
    image: Annotated[list[str] | None, typer.Option("--image", metavar="FILE", help="A picture; repeatable.")] = None,
    audio: Annotated[
        list[str] | None, typer.Option("--audio", metavar="FILE", help="Sound of at most 30 s; repeatable.")
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", "-f", metavar="FILE", help="A text to read first; repeatable.")
    ] = None,
    system: Annotated[str, typer.Option("--system", "-s", metavar="TEXT", help="How the model is to behave.")] = "",
    think: Annotated[bool, typer.Option("--think/--no-think", help="Let the model think before it answers.")] = False,
    show_thinking: Annotated[
        bool | None,
        typer.Option(
            "--show-thinking/--hide-thinking",
            help="Thoughts in full or not at all. Default: folded on a terminal, on stderr elsewhere.",
        ),
    ] = None,
) -> None:
    """Talk with the model. With a PROMPT or with piped text it answers once."""
    conversation = Conversation(system=system)
    for part in attachments(image or (), file or (), audio or ()):
        conversation = conversation.staging(part)
    piped = read_piped()
    question = "\n\n".join(text for text in (piped, prompt) if text)
    if not question and piped is not None and not conversation.staged:
        raise UsageError("nothing to answer: give a PROMPT, pipe text in, or run gemma chat on a terminal")
    chosen, drafting = sampling.sampling(think), engine.drafting()

    def reply(model: Engine, asked: Conversation) -> Turn:
        request = replace(asked.request(chosen, drafting, think), image_budget=None)
        return draw(model, request, output, SHOWS[show_thinking])

    if prompt is not None or piped is not None:
        complete(reply(start(engine, output), conversation.saying(question)))
    else:
        converse(start(engine, output), conversation, reply, reserve=chosen.max_tokens)


def converse(
    engine: Engine, conversation: Conversation, reply: Callable[[Engine, Conversation], Turn], reserve: int
) -> None:
    """Message after message, until end of file or /exit. A reply that Ctrl-C ended stays as far as it got."""
    context = engine.info.context
    for typed in repl.messages():
        match typed:
            case "/exit" | "/quit":
                return
            case "/clear":
                conversation = conversation.cleared()
            case _ if typed.startswith("/") and " " not in typed:
                notice(f"{typed}: no such command; there are /clear and /exit")
            case _:
                try:
                    asked = conversation.saying(typed).fitted(context, min(reserve, context // 4))
                    conversation = asked.hearing(reply(engine, asked), engine.info.model)
                except InputError as error:
                    notice(str(error))


def attachments(images: Iterable[str], files: Iterable[str], sounds: Iterable[str]) -> Iterator[Part]:
    """What goes along with the next message. Raises InputError."""
    from gemma_cli.media.audio import read_audio
    from gemma_cli.media.image import read_image

    yield from map(read_image, images)
    for name in files:
        yield Text(f"{name}:\n{read_text(name).strip()}\n\n")
    yield from map(read_audio, sounds)


def read_piped() -> str | None:
    """What is piped in; None where someone sits at a terminal. Bytes that are not UTF-8 become U+FFFD."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        return None
    content = sys.stdin.buffer.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise InputError(f"standard input: more than {MOST_TEXT >> 20} MiB of text; no model reads that much")
    if b"\0" in content:
        raise InputError("standard input: not text; give pictures with --image and sound with --audio")
    return content.decode("utf-8-sig", "replace").strip()
