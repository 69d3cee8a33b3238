"""Tokens of one reply -> the events that tell it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from gemma_cli.core.channels import ChannelParser, Parsed
from gemma_cli.core.events import Done, Event, FinishReason, Timings, ToolCalled, Usage
from gemma_cli.engines.local.text.detokenize import Detokenizer
from gemma_cli.engines.local.text.prompt import Prompt
from gemma_cli.engines.local.text.tokenizer import Tokenizer


class ReplyEvents:
    """A reply so far.

    stops: tokens that end it. literal: which tokens stand for their text even where it spells a marker; None: none.
    tools: declarations of the tools that may be called.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Prompt,
        stops: Collection[int],
        literal: Callable[[int], bool] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._text = Detokenizer(tokenizer)
        self._parser = ChannelParser(prompt.in_thought, tools)
        self._prompt_tokens, self._stops, self._literal = len(prompt.ids), stops, literal
        self._media_tokens = sum(span.length for span in prompt.media) or None
        self.media_encoded: int | None = None  # known where the reply is made alone
        self._tokens = self._thinking = 0
        self._last = -1
        self._called = False

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        encoded = self.media_encoded if self._media_tokens else None
        return Usage(self._prompt_tokens, self._tokens, self._thinking, self._media_tokens, encoded)

    def feed(self, token: int) -> Iterator[Event]:
        """Return the events after one more token."""
        inside = self._parser.channel == "thinking"
        read = self._parser.literal if self._literal and self._literal(token) else self._parser.feed
        yield from self._noted(read(self._text.feed(token)))
        self._tokens += 1
        self._thinking += inside or self._parser.channel == "thinking"
        self._last = token

    def end(self, timings: Timings) -> Iterator[Event]:
        """Return the remaining events and Done."""
        yield from self._noted(self._parser.feed(self._text.flush()))
        yield from self._noted(self._parser.flush())
        yield Done(self._reason(), self.usage, timings)

    def _noted(self, events: Iterator[Parsed]) -> Iterator[Event]:
        for event in events:
            self._called |= isinstance(event, ToolCalled)
            yield event

    def _reason(self) -> FinishReason:
        if self._last not in self._stops:
            return "length"
        return "tool_calls" if self._called else "stop"
