"""A request in progress: its prompt while it is read, then its reply so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

from torch import Tensor

from gemma_cli.core.events import Event, Progress, Round, Timings
from gemma_cli.core.messages import Request
from gemma_cli.engines.local.constraints.constraint import Constraint, Free
from gemma_cli.engines.local.decoding.lookup import Lookup
from gemma_cli.engines.local.decoding.prefix_cache import Last
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.chunks import Pass
from gemma_cli.engines.local.scheduling.prefix_store import Digest
from gemma_cli.engines.local.text.prompt import Prompt
from gemma_cli.engines.local.text.reply_events import ReplyEvents


@dataclass(eq=False)
class Sequence:
    """A request, from the time its prompt is written until its reply ends.

    room: most tokens of the reply.
    left: tokens that the reply may still get.
    passes: passes of the prompt that have not been read.
    following: the next of them; None once the prompt is read.
    newest: tokens of the last round; the cache does not hold the last one yet.
    hidden: the target's state that chose the newest token, [1, hidden].
    chain, ends: digests and ends of the prompt's complete passes; see PrefixStore.
    last: output of the prompt's last row, until it is stored.
    tokens: all tokens of the reply.
    """

    key: int
    request: Request
    prompt: Prompt
    room: int
    cache: Cache
    passes: Iterator[Pass]
    constraint: Constraint
    lookup: Lookup | None
    reply: ReplyEvents
    load_s: float | None
    began: float
    following: Pass | None = None
    left: int = 0
    newest: list[int] = field(default_factory=list)
    hidden: Tensor | None = None
    chain: list[Digest] = field(default_factory=list)
    ends: tuple[int, ...] = ()
    last: Last | None = None
    tokens: list[int] = field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0

    @property
    def length(self) -> int:
        """Most positions that the request can occupy."""
        return len(self.prompt.ids) + self.room

    @property
    def free(self) -> bool:
        """Whether the reply is unconstrained."""
        return isinstance(self.constraint, Free)

    def __post_init__(self) -> None:
        self.left = self.room

    def go_on(self, tokens: list[int], hidden: Tensor) -> None:
        """Add tokens that the target chose. hidden: its state at the last of them, [1, hidden]."""
        self.constraint.accept(tokens)
        self.newest, self.hidden = tokens, hidden
        self.tokens += tokens
        self.left -= len(tokens)

    def ended(self, stop: frozenset[int]) -> bool:
        """Whether the newest token is the reply's last."""
        return not self.left or self.newest[-1] in stop

    def events(self, round_: Round | None = None) -> list[Event]:
        """Return the events of the newest tokens. round_: the round that generated them; None for the first token."""
        self.last_s = perf_counter()
        self.first_s = self.first_s or self.last_s
        shown = [event for token in self.newest for event in self.reply.feed(token)]
        return [*([round_] if round_ else []), Progress(self.reply.usage, self._timings), *shown]

    def last_events(self) -> list[Event]:
        """Return the events that end the reply."""
        return list(self.reply.end(self._timings))

    @property
    def _timings(self) -> Timings:
        return Timings(self.load_s, self.first_s - self.began, self.last_s - self.first_s)
