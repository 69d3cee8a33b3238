"""A reply from an engine: collected, drawn or printed as JSON."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

from gemma_cli.common.notices import figures, notice
from gemma_cli.common.options import OutputOptions
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import Interrupted
from gemma_cli.core.events import Event, Turn, collect
from gemma_cli.core.messages import Request
from gemma_cli.views import plain
from gemma_cli.views.drawing import undrawn


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

        with closing(engine.stream(request)) as events:
            turn = undrawn(events)
        fields = json.turn_object(turn, engine.info, request.drafting.draft_tokens)
        json.write({**(about or {}), **fields}, sys.stdout)
    else:
        with closing(engine.stream(request)) as events:
            turn = show(events)
    if turn.finish_reason == "length" and not output.quiet:
        notice(f"reply truncated at --max-tokens ({turn.usage.completion_tokens})")
    if output.stats:
        seed = f", seed {request.sampling.seed}" if request.sampling.temperature else ""
        notice(figures(turn) + seed)
    return turn


def rendered(events: Iterator[Event]) -> Turn:
    """Markdown on a terminal, with thoughts folded into a line; elsewhere as it is, with thoughts on stderr."""
    if not sys.stdout.isatty():
        return plain.show(events, sys.stdout, sys.stderr)
    from gemma_cli.views import console
    from gemma_cli.views.markdown import stream

    return stream.show(events, console.terminal(sys.stdout))


def rendered_with_thoughts(events: Iterator[Event]) -> Turn:
    """The same with thoughts in full."""
    if not sys.stdout.isatty():
        return plain.show(events, sys.stdout, sys.stderr)
    from gemma_cli.views import console
    from gemma_cli.views.markdown import stream

    return stream.show_thinking(events, console.terminal(sys.stdout))


def verbatim(events: Iterator[Event]) -> Turn:
    """The answer alone, as the model wrote it."""
    return plain.show(events, sys.stdout, io.StringIO())


def complete(turn: Turn) -> None:
    """Raises Interrupted for a reply that Ctrl-C ended."""
    if turn.finish_reason == "interrupted":
        raise Interrupted
