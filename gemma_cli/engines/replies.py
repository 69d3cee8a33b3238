"""Replies to many requests. Only here is a looping reply requested again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count

from gemma_cli.core.engine import Engine, stream_many
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Done, Event, Turn, collect
from gemma_cli.core.messages import Request, Sampling

RETRY = Sampling(temperature=0.6, seed=0)
"""Sampling for the retry of a looping reply, with its own token limit."""

Loops = Callable[[int, Turn], bool]
"""A test of whether the reply to the request with an index loops."""


@dataclass
class _Asked:
    """A request in progress, with its index among all. first: the looping reply, if this is a retry."""

    index: int
    request: Request
    first: Turn | None = None
    events: list[Event] = field(default_factory=list)


def replies(
    engine: Engine, requests: Iterable[Request], loops: Loops
) -> Generator[tuple[int, Turn | InputError], None, None]:
    """Yield the reply to each request, or why there is none, with the index of the request: as they end, in any order.

    One that loops is asked for once more, by sampling, with those that are asked next. If the other one loops too, the
    first stands. Requests are taken only when there is room for them.
    """
    unasked = (_Asked(index, request) for index, request in enumerate(requests))
    retries: deque[_Asked] = deque()
    more = True
    while more or retries:
        asked: dict[int, _Asked] = {}
        with closing(stream_many(engine, _pending(unasked, retries, asked))) as answers:
            for place, event in answers:
                one = asked[place]
                if isinstance(event, InputError):
                    del asked[place]  # it holds the media of its request
                    yield one.index, event
                    continue
                one.events.append(event)
                if not isinstance(event, Done):
                    continue
                del asked[place]
                turn = collect(one.events)
                looped = loops(one.index, turn)
                if looped and not one.first:
                    again = replace(one.request, sampling=replace(RETRY, max_tokens=one.request.sampling.max_tokens))
                    retries.append(_Asked(one.index, again, turn))
                else:
                    yield one.index, one.first if looped and one.first else turn
        more = False  # all have been asked, but for retries of the last


def _pending(unasked: Iterator[_Asked], retries: deque[_Asked], asked: dict[int, _Asked]) -> Iterator[Request]:
    """Take retries before what has not been asked yet; each is noted in `asked` by its place."""
    for place in count():
        one = retries.popleft() if retries else next(unasked, None)
        if one is None:
            return
        asked[place] = one
        yield one.request


def ordered_replies(engine: Engine, requests: Iterable[Request], loops: Loops) -> Generator[Turn, None, None]:
    """Yield the reply to each request when those before it are there, as `replies` finds them.

    Raises the InputError of one that has none.
    """
    done: dict[int, Turn | InputError] = {}
    following = 0
    with closing(replies(engine, requests, loops)) as answered:
        for index, reply in answered:
            done[index] = reply
            while following in done:
                turn = done.pop(following)
                following += 1
                if isinstance(turn, InputError):
                    raise turn
                yield turn
