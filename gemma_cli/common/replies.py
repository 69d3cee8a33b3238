"""A reply from an engine: collected, drawn or printed as JSON."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from gemma_cli.common.notices import figures, notice
from gemma_cli.common.options import OutputOptions
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import Interrupted
from gemma_cli.core.events import Event, Turn, collect, undrawn
from gemma_cli.core.messages import Request
from gemma_cli.views import plain


def listen(engine: Engine, request: Request) -> Turn:
    """Collect the complete reply without drawing it."""
    with closing(engine.stream(request)) as events:
        return collect(events)


Show = Callable[[Iterator[Event]], Turn]


def draw(
    engine: Engine, request: Request, output: OutputOptions, show: Show, about: Mapping[str, Any] | None = None
) -> Turn:
    """Ask, and show the reply as it comes, or as JSON once it is complete; `about` goes before its other fields."""
    with closing(engine.stream(request)) as events:
        turn = collect(events, undrawn) if output.as_json else show(events)
    if output.as_json:
        from gemma_cli.views import json

        fields = json.turn_object(turn, engine.info, request.drafting.draft_tokens, request)
        json.write({**(about or {}), **fields}, sys.stdout)
    if turn.finish_reason == "length" and not output.quiet:
        notice(f"the reply was cut off at --max-tokens ({turn.usage.completion_tokens}); raise --max-tokens")
    if output.stats:
        seed = f", seed {request.sampling.seed}" if request.sampling.temperature else ""
        notice(figures(turn) + seed)
    return turn


def answer_view(thoughts: bool | None = None) -> Show:
    """Return how an answer is shown to people: as markdown on a terminal, as the model wrote it elsewhere.

    thoughts: in full (True), folded into one line on a terminal (None), or left out and the answer unformatted (False).
    """
    if thoughts is False:
        return partial(plain.show, out=sys.stdout, err=io.StringIO())
    if not sys.stdout.isatty():
        return partial(plain.show, out=sys.stdout, err=sys.stderr)
    from gemma_cli.views import console
    from gemma_cli.views.markdown import stream

    return partial(stream.show_thinking if thoughts else stream.show, console=console.terminal(sys.stdout))


def complete(turn: Turn) -> None:
    """Raises Interrupted for a reply that Ctrl-C ended."""
    if turn.finish_reason == "interrupted":
        raise Interrupted
