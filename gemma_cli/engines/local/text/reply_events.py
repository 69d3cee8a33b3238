"""Tokens of one reply -> the events that tell it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from gemma_cli.core.channels import MARKERS, ChannelParser, Parsed
from gemma_cli.core.events import Done, Event, FinishReason, Timings, TokenChosen, TokenScore, ToolCalled, Usage
from gemma_cli.engines.local.model.score_log import ScoreLog
from gemma_cli.engines.local.text.detokenize import Detokenizer, token_bytes
from gemma_cli.engines.local.text.prompt import Prompt
from gemma_cli.engines.local.text.tokenizer import Tokenizer


class ReplyEvents:
    """A reply so far.

    stops: tokens that end it. literal: which tokens stand for their text even where it spells a marker; None: none.
    tools: declarations of the tools that may be called. scores: where the reply's tokens are recorded before they are
    fed, if they are.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Prompt,
        stops: Collection[int],
        literal: Callable[[int], bool] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        scores: ScoreLog | None = None,
    ) -> None:
        self.scores = scores
        self._tokenizer, self._text = tokenizer, Detokenizer(tokenizer)
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
        literal = self._literal is not None and self._literal(token)
        if self.scores and self.scores.alternatives is not None and self._answers(token, literal):
            yield self._chosen(token, self.scores)
        read = self._parser.literal if literal else self._parser.feed
        yield from self._noted(read(self._text.feed(token)))
        self._tokens += 1
        self._thinking += inside or self._parser.channel == "thinking"
        self._last = token

    def _answers(self, token: int, literal: bool) -> bool:
        """Whether a token is text of the answer: no marker, and in no thought or call."""
        if token in self._stops or not self._parser.in_answer:
            return False
        return literal or self._tokenizer.token_of(token) not in MARKERS

    def _chosen(self, token: int, scores: ScoreLog) -> TokenChosen:
        """The event of a token of the answer."""
        position = self._prompt_tokens - 1 + self._tokens
        likeliest = scores.likeliest.get(position, ())
        return TokenChosen(
            self._score(token, scores.chosen[position]), tuple(self._score(other, of) for other, of in likeliest)
        )

    def _score(self, token: int, logprob: float) -> TokenScore:
        return TokenScore(tuple(token_bytes(self._tokenizer.token_of(token) or "")), logprob)

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
