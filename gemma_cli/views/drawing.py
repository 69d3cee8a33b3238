"""Drawing events while `collect` folds them: what every view is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gemma_cli.core.events import Event, Turn, collect


def fold(events: Iterable[Event], draw: Callable[[Event], None]) -> Turn:
    """`collect(events)`, drawing each event as it passes.

    Ctrl-C ends the turn: it comes back with what was drawn and finish_reason "interrupted", so that it can be kept.
    Whatever `draw` raises, BrokenPipeError above all, goes to the caller.
    """
    return collect(_drawn(events, draw))


def undrawn(events: Iterable[Event]) -> Turn:
    """Same as `fold`, for a reply that is printed when it has ended."""
    return fold(events, lambda event: None)


def _drawn(events: Iterable[Event], draw: Callable[[Event], None]) -> Iterator[Event]:
    try:
        for event in events:
            draw(event)
            yield event
    except KeyboardInterrupt:
        return
