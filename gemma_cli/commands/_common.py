"""What every command does around the model: open it, draw its reply, read text, say things on stderr."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, BinaryIO

import typer

from gemma_cli.engines import Engine, open_engine
from gemma_cli.errors import GemmaError, InputError, Interrupted
from gemma_cli.events import Event, Turn, collect
from gemma_cli.media.files import display_name, open_input
from gemma_cli.messages import Request
from gemma_cli.options import ModelOptions, OutputOptions
from gemma_cli.store.checkpoints import NotOnDisk, resolve
from gemma_cli.store.releases import gigabytes
from gemma_cli.views import plain
from gemma_cli.views.sanitize import safe_line

MOST_TEXT = 8 << 20
"""Bytes of text read from a file or a pipe: several times the longest context there is."""


def notice(message: str) -> None:
    """One line on stderr."""
    print(f"gemma: {safe_line(message)}", file=sys.stderr, flush=True)


def start(options: ModelOptions, output: OutputOptions) -> Engine:
    """The engine the options ask for, loaded; tells what was chosen where nothing was asked for."""
    try:
        engine = _open(options, output)
    except NotOnDisk as missing:
        if not _agreed(missing):
            raise
        from gemma_cli.store.download import pull

        pull(missing.name)
        engine = _open(options, output)
    if engine.info.notice and not output.quiet:
        notice(engine.info.notice)
    return engine


def _open(options: ModelOptions, output: OutputOptions) -> Engine:
    spec = options.spec()
    name = resolve(spec.model, spec.assistant).name  # a name that means nothing is told before torch is imported
    with busy(f"loading {name}", output), _interruptible():
        return open_engine(spec)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make Ctrl-C end what is inside; libraries being imported turn it into errors of their own, or lose it."""
    pressed = False

    def press(_signal: int, _frame: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield
    except Exception:
        if not pressed:
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise Interrupted


def _agreed(missing: NotOnDisk) -> bool:
    """Ask someone who is there; nobody else has a download started for them."""
    if not (missing.size and sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    from gemma_cli.views.repl.cancel import line_input

    with line_input():
        return typer.confirm(f"{missing.name} is not on this machine. Fetch {gigabytes(missing.size)} now?", err=True)


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


Show = Callable[[Iterator[Event]], Turn]


def draw(
    engine: Engine, request: Request, output: OutputOptions, show: Show, about: Mapping[str, Any] | None = None
) -> Turn:
    """Ask, and show the reply as it comes, or as JSON once it is whole; `about` goes before its other fields."""
    if output.as_json:
        from gemma_cli.views import json

        turn = listen(engine, request)
        fields = json.turn_object(turn, engine.info, request.drafting.draft_tokens)
        json.write({**(about or {}), **fields}, sys.stdout)
    else:
        with closing(engine.stream(request)) as events:
            turn = show(events)
    if turn.finish_reason == "length" and not output.quiet:
        notice(f"the reply was cut off after {turn.usage.completion_tokens} tokens, the most it may have here")
    if output.stats:
        seed = f", seed {request.sampling.seed}" if request.sampling.temperature else ""
        notice(figures(turn) + seed)
    return turn


def rendered(events: Iterator[Event]) -> Turn:
    """Markdown on a terminal, with thoughts folded into a line; elsewhere as it is, with thoughts on stderr."""
    if not sys.stdout.isatty():
        return plain.show(events, sys.stdout, sys.stderr)
    from gemma_cli.views import live, markdown

    return markdown.show(events, live.terminal(sys.stdout))


def rendered_with_thoughts(events: Iterator[Event]) -> Turn:
    """The same with thoughts in full."""
    if not sys.stdout.isatty():
        return plain.show(events, sys.stdout, sys.stderr)
    from gemma_cli.views import live, markdown

    return markdown.show_thinking(events, live.terminal(sys.stdout))


def verbatim(events: Iterator[Event]) -> Turn:
    """The answer alone, as the model wrote it."""
    return plain.show(events, sys.stdout, io.StringIO())


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
    thought = f", {usage.thinking_tokens} of them thought" if usage.thinking_tokens else ""
    said = [f"{usage.prompt_tokens} tokens read, {usage.completion_tokens} written{thought}"]
    if timings.ttft_s is not None:
        said.append(f"first after {timings.ttft_s:.2f} s")
    if (speed := timings.tokens_per_second(usage.completion_tokens)) is not None:
        said.append(f"then {speed:.1f} tokens/s")
    if speculation.acceptance_rate is not None:
        said.append(
            f"{speculation.acceptance_rate:.0%} of drafts accepted, "
            f"{speculation.mean_acceptance_length:.2f} tokens a target pass that had one"
        )
    if copied := speculation.of("lookup").accepted:
        said.append(f"{copied} of {speculation.accepted} accepted ones copied from the context")
    if speculation.remark:
        said.append(speculation.remark)
    return ", ".join(said)


def read_text(path: str | Path) -> str:
    """A UTF-8 text file, or standard input for "-". Raises InputError for what is not text, or too much of it."""
    with open_input(path) as file:
        return text_in(file, display_name(path))


def text_in(file: BinaryIO, name: str) -> str:
    """The same of an open file."""
    content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise InputError(f"{name}: more than {MOST_TEXT >> 20} MiB of text; no model reads that much")
    text = as_text(content)
    if text is None:
        raise InputError(f"{name}: not text in UTF-8; convert it: iconv -t UTF-8 FILE")
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
