"""The order of a reply under a schema or a thinking budget: thought first, if there is one, then the answer.

    start -<|channel>-> thought -<channel|>-> open -> answer -> end            (a token that ends the reply)
      \\________________________________________/ \\-<|tool_call>-> call -<tool_call|>-> called -> end

A schema holds the answer alone: what is thought or put into a tool call is free, but cannot end the reply.

A budget counts as Usage.thinking_tokens does, markers included, and is never exceeded: when it leaves room for no more
than a line break and the marker that closes a thought, those follow, as the models themselves end their thoughts. No
other thought is begun then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gemma_cli.engines.local.constraints.constraint import Mask, Rules

EMPTY_THOUGHT = 4
"""Tokens of <|channel>thought\\n<channel|>, the shortest there is."""

Phase = Literal["start", "thought", "open", "answer", "call", "called", "end"]


@dataclass(frozen=True)
class ReplyTokens:
    """Token ids that mark the parts of a reply. `size`: the number of ids; stops: those that end a reply."""

    size: int
    opening: int  # <|channel>
    closing: int  # <channel|>
    newline: int
    calling: int  # <|tool_call>
    called: int  # <tool_call|>
    stops: frozenset[int]
    ends_line: Callable[[int], bool]


@dataclass(frozen=True)
class _State:
    phase: Phase
    thought: int = 0  # tokens
    line_ended: bool = False
    in_answer: bool = False  # whether the token that led here is one of the schema's


class ReplyRules:
    """constraint.Rules of one reply.

    answer: the rules of the answer; None: none. budget: tokens of thought; None: any number. thinking: a thought may
    come first; in_thought: the prompt ends in one. tools: an answer may be a tool call instead.
    """

    def __init__(
        self,
        words: ReplyTokens,
        *,
        answer: Rules | None = None,
        budget: int | None = None,
        thinking: bool = False,
        in_thought: bool = False,
        tools: bool = False,
    ) -> None:
        self._words, self._answer, self._budget = words, answer, budget
        self._thinking, self._tools = thinking, tools
        self._states = [_State("thought" if in_thought else "start")]

    def allowed(self) -> Mask | None:
        """See constraint.Rules."""
        state, words = self._states[-1], self._words
        match state.phase:
            case "thought":
                return self._in_thought(state)
            case "call":
                return self._but([words.opening, words.calling, *words.stops])
            case "called":
                return self._only([words.calling, *words.stops])
            case "end":
                return None
        if self._answer is None:
            return None if self._may_think(state) else self._but([words.opening])
        mask = self._answer.allowed()
        others = [words.opening] if state.phase == "start" and self._thinking and self._may_think(state) else []
        if self._tools and state.phase != "answer":
            others.append(words.calling)
        return _with(mask, others) if mask is not None and others else mask

    def push(self, token: int) -> bool:
        """See constraint.Rules."""
        following = self._after(token)
        if following is None:
            return False
        self._states.append(following)
        return True

    def pop(self, count: int) -> None:
        """See constraint.Rules."""
        if count:
            undone, self._states = self._states[-count:], self._states[:-count]
            if self._answer and (told := sum(state.in_answer for state in undone)):
                self._answer.pop(told)

    def _after(self, token: int) -> _State | None:
        """Return the state after `token`; None if it is not allowed."""
        state, words = self._states[-1], self._words
        if self._answer and state.phase in ("start", "open", "answer") and self._answer.push(token):
            return replace(state, phase="answer", in_answer=True)
        mask = self.allowed()
        if mask is not None and not mask[token >> 3] >> (token & 7) & 1:
            return None
        return replace(self._led(state, token), line_ended=words.ends_line(token), in_answer=False)

    def _led(self, state: _State, token: int) -> _State:
        words = self._words
        if state.phase == "end" or token in words.stops:
            return replace(state, phase="end")
        if state.phase == "thought":
            return replace(state, phase="open" if token == words.closing else "thought", thought=state.thought + 1)
        if token == words.opening:
            return replace(state, phase="thought", thought=state.thought + 1)
        if token == words.calling and self._answer:
            return replace(state, phase="call")
        if state.phase == "call":
            return replace(state, phase="called" if token == words.called else "call")
        return replace(state, phase="answer")

    def _in_thought(self, state: _State) -> Mask | None:
        words = self._words
        if self._budget is not None:
            left = self._budget - state.thought
            if left <= 1 or (left == 2 and state.line_ended):
                return self._only([words.closing])
            if left == 2:
                return self._only([words.newline])
        return self._but(words.stops) if self._answer else None

    def _may_think(self, state: _State) -> bool:
        return self._budget is None or self._budget - state.thought >= EMPTY_THOUGHT

    def _only(self, tokens: Collection[int]) -> Mask:
        return _with(np.zeros((self._words.size + 7) // 8, np.uint8), tokens)

    def _but(self, tokens: Collection[int]) -> Mask:
        mask = np.full((self._words.size + 7) // 8, 0xFF, np.uint8)
        for token in tokens:
            mask[token >> 3] &= ~np.uint8(1 << (token & 7))
        return mask


def _with(mask: Mask, tokens: Collection[int]) -> Mask:
    mask = mask.copy()
    for token in tokens:
        mask[token >> 3] |= np.uint8(1 << (token & 7))
    return mask
