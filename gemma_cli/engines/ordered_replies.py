"""Many questions asked at once, answered in their order."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

from gemma_cli.core.engine import Engine, stream_many
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Done, Event, Turn, collect
from gemma_cli.core.messages import Request


def replies(engine: Engine, requests: Iterable[Request]) -> Generator[Turn, None, None]:
    """The reply to each request, when those before it are there. Raises the InputError of one that has none."""
    events: dict[int, list[Event]] = {}
    done: dict[int, Turn | InputError] = {}
    following = 0
    with closing(stream_many(engine, requests)) as answers:
        for index, event in answers:
            if isinstance(event, InputError):
                done[index] = event
            else:
                events.setdefault(index, []).append(event)
            if isinstance(event, Done):
                done[index] = collect(events.pop(index))
            while following in done:
                turn = done.pop(following)
                following += 1
                if isinstance(turn, InputError):
                    raise turn
                yield turn
