"""What every command does around the model: open it, draw its reply, read text, say things on stderr."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemma_cli.engines import Engine, open_engine
from gemma_cli.errors import GemmaError, InputError, Interrupted
from gemma_cli.events import Event, Turn, collect
from gemma_cli.media.files import display_name, open_input
from gemma_cli.messages import Request
from gemma_cli.options import EngineOptions, OutputOptions
from gemma_cli.views.sanitize import safe_line

MOST_TEXT = 8 << 20
"""Bytes of text read from a file or a pipe: several times the longest context there is."""


def notice(message: str) -> None:
    """One line on stderr."""
    print(f"gemma: {safe_line(message)}", file=sys.stderr, flush=True)


def start(options: EngineOptions, output: OutputOptions) -> Engine:
    """The engine the options ask for, loaded; tells what was chosen where nothing was asked for."""
    with busy(f"loading {options.model or 'the model'}", output):
        engine = open_engine(options.spec())
    if engine.info.notice and not output.quiet:
        notice(engine.info.notice)
    return engine


@contextmanager
def busy(label: str, output: OutputOptions) -> Iterator[None]:
    """Say on a terminal what takes so long."""
    if output.quiet:
        yield
        return
    from gemma_cli.views.live import terminal
    from gemma_cli.views.status import working

    with working(terminal(sys.stderr), label):
        yield


def listen(engine: Engine, request: Request) -> Turn:
    """The whole reply, undrawn."""
    with closing(engine.stream(request)) as events:
        return collect(events)


def draw(
    engine: Engine,
    request: Request,
    output: OutputOptions,
    show_thinking: bool | None = None,
    about: Mapping[str, Any] | None = None,
) -> Turn:
    """Ask, and show the reply as it comes: live on a terminal, plain elsewhere, or as JSON once it is whole.

    show_thinking None: folded on a terminal, on stderr elsewhere. about: fields that go before the others in JSON.
    """
    if output.as_json:
        from gemma_cli.views import json

        turn = listen(engine, request)
        fields = json.turn_object(turn, engine.info, request.drafting.draft_tokens)
        json.write({**(about or {}), **fields}, sys.stdout)
    else:
        with closing(engine.stream(request)) as events:
            turn = _shown(events, show_thinking)
    if turn.finish_reason == "length" and not output.quiet:
        notice(f"the reply was cut off after {turn.usage.completion_tokens} tokens, the most it may have here")
    if output.stats:
        seed = f", seed {request.sampling.seed}" if request.sampling.temperature else ""
        notice(figures(turn) + seed)
    return turn


def _shown(events: Iterator[Event], show_thinking: bool | None) -> Turn:
    if sys.stdout.isatty():
        from gemma_cli.views import live

        show = live.show_thinking if show_thinking else live.show
        return show(events, live.terminal(sys.stdout), live.terminal(sys.stderr))
    from gemma_cli.views import plain

    return plain.show(events, sys.stdout, io.StringIO() if show_thinking is False else sys.stderr)


def complete(turn: Turn) -> None:
    """Raises Interrupted for a reply that Ctrl-C ended."""
    if turn.finish_reason == "interrupted":
        raise Interrupted


def heading(name: str, size: int) -> str:
    """Which of several inputs the next answer belongs to, as head(1) writes it; nothing for a single one."""
    return f"==> {safe_line(name)} <==\n" if size > 1 else ""


def figures(turn: Turn) -> str:
    """Speed and acceptance of a reply."""
    usage, timings, speculation = turn.usage, turn.timings, turn.speculation
    said = [f"{usage.prompt_tokens} tokens read, {usage.completion_tokens} written"]
    if timings.ttft_s is not None:
        said.append(f"first after {timings.ttft_s:.2f} s")
    if (speed := timings.tokens_per_second(usage.completion_tokens)) is not None:
        said.append(f"then {speed:.1f} tokens/s")
    if speculation.acceptance_rate is not None:
        said.append(
            f"{speculation.acceptance_rate:.0%} of drafts accepted, "
            f"{speculation.mean_acceptance_length:.2f} tokens a target pass that had one"
        )
    return ", ".join(said)


def read_text(path: str | Path) -> str:
    """A UTF-8 text file, or standard input for "-". Raises InputError for what is not text, or too much of it."""
    with open_input(path) as file:
        content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise InputError(f"{display_name(path)}: more than {MOST_TEXT >> 20} MiB of text; no model reads that much")
    text = as_text(content)
    if text is None:
        raise InputError(f"{display_name(path)}: not text in UTF-8; convert it: iconv -t UTF-8 FILE")
    return text


def as_text(content: bytes) -> str | None:
    """The text if that is what the bytes are; a NUL, which no text holds, gives binary data away."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


@dataclass
class Batch:
    """Many inputs, of which some may be bad: they do not stop the others and are told together at the end."""

    size: int
    failures: list[InputError] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around the work on one input; a single one fails as itself."""
        try:
            yield
        except InputError as error:
            if self.size == 1:
                raise
            self.failures.append(error)

    def finish(self) -> None:
        """Raises GemmaError when any failed."""
        if self.failures:
            reasons = "; ".join(map(str, self.failures))
            raise GemmaError(f"{len(self.failures)} of {self.size} files failed: {reasons}")
