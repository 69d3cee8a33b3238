"""The constraint of each request, over the vocabulary of one checkpoint."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gemma_cli.core.errors import ModelError
from gemma_cli.core.messages import Request
from gemma_cli.engines.local.constraints.constraint import Bound, Constraint, Free
from gemma_cli.engines.local.constraints.reply_rules import ReplyRules, ReplyTokens
from gemma_cli.engines.local.text.detokenize import token_bytes
from gemma_cli.engines.local.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLTokenizer

TOOL_CALLED = "<|tool_response>"
"""Ends a reply too, but only after a tool call."""


class Constraints:
    """size: ids the target has logits for; stops: those that end a reply."""

    def __init__(self, tokenizer: Tokenizer, size: int, stops: frozenset[int]) -> None:
        self._tokenizer, self._size, self._stops = tokenizer, size, stops

    def of(self, request: Request, in_thought: bool) -> Constraint:
        """Select the constraint of a request, None without one. in_thought: its prompt ends inside a thought. Raises
        ModelError if the checkpoint cannot follow it."""
        budget = request.thinking_budget if request.thinking or in_thought else None
        if request.schema is None and budget is None:
            return Free()
        answer = None
        if request.schema is not None:
            from gemma_cli.engines.local.constraints.json_grammar import Grammar

            answer = Grammar(self._vocabulary, request.schema)
        rules = ReplyRules(
            self._words,
            answer=answer,
            budget=budget,
            thinking=request.thinking,
            in_thought=in_thought,
            tools=bool(request.tools) and not request.schema_alone,
        )
        return Bound(rules)

    @cached_property
    def control(self) -> frozenset[int]:
        """The control tokens, which no schema holds."""
        return frozenset(self._id(token) for token in self._tokenizer.special)

    @cached_property
    def _vocabulary(self) -> LLTokenizer:
        from gemma_cli.engines.local.constraints.json_grammar import vocabulary

        ends = self._stops - {self._tokenizer.id_of(TOOL_CALLED)}
        if not ends:
            raise ModelError("the model has no end-of-turn token, which JSON schemas need: choose another model")
        return vocabulary(self._tokenizer, self._size, ends)

    @cached_property
    def _words(self) -> ReplyTokens:
        return ReplyTokens(
            size=self._size,
            opening=self._id("<|channel>"),
            closing=self._id("<channel|>"),
            newline=self._id("\n"),
            calling=self._id("<|tool_call>"),
            called=self._id("<tool_call|>"),
            stops=self._stops,
            ends_line=lambda token: token_bytes(self._tokenizer.token_of(token) or "").endswith(b"\n"),
        )

    def _id(self, token: str) -> int:
        found = self._tokenizer.id_of(token)
        if found is None:
            raise ModelError(f"the model's vocabulary has no {token!r}: download the checkpoint again")
        return found
