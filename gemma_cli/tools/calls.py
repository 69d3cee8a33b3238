"""Calls of tools: permission, execution, and the result for the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from gemma_cli.core.conversation import BYTES_PER_TOKEN, UNKNOWN
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Turn, UnreadableCall
from gemma_cli.core.messages import ToolCall, ToolResponse
from gemma_cli.core.records import dataclass
from gemma_cli.tools import Toolbox, ToolFailed

ROUNDS = 8
"""Limit of consecutive replies that only call tools."""

Permission = Literal["yes", "no", "always"]

SHARE = 4
"""Share of the context that a result may take."""

LONGEST_SHOWN = 200
"""Characters of an unreadable call that the model and the user are shown."""


def leave(text: str) -> Permission | None:
    """Return what somebody answered to the question, as a word or its letter; None for anything else.

    "actually not" is not "always".
    """
    given: dict[str, Permission] = {"y": "yes", "n": "no", "a": "always"}
    word = text.strip().lower()
    return given.get(word) or next((answer for answer in given.values() if answer == word), None)


def longest_answer(context: int) -> int:
    """Characters of a tool's answer that a model of so many tokens of context is shown."""
    return context * BYTES_PER_TOKEN // SHARE


class Unfinished(GemmaError):
    """The model only called tools, too often or unreadably. Its calls and their answers stand in the conversation."""


@dataclass(frozen=True)
class ToolRunner:
    """Functions that handle calls. All may raise GemmaError, which ends the exchange.

    ask: is shown every call that is not allowed by name, tell the others, and then every answer.
    longest: characters of an answer the model is shown; more would not leave it room to reply.
    """

    box: Toolbox
    ask: Callable[[ToolCall], Permission]
    tell: Callable[[ToolCall, ToolResponse | None], None]
    longest: int

    def answer(self, call: ToolCall) -> ToolResponse:
        """Return the result of one call for the model."""
        return next(self.answers((call,)))

    def answers(self, calls: Sequence[ToolCall]) -> Iterator[ToolResponse]:
        """Yield the result of each call of a reply for the model, in order.

        Ctrl-C cancels the call that runs and all after it: whoever presses it does not want the next one.
        """
        cancelled = False
        for call in calls:
            response: Any
            if cancelled:
                response = _failure("the tool was not run, because the user cancelled an earlier call")
            elif not self._allowed(call):
                response = _failure("the user did not allow this call")
            else:
                try:
                    response = self._carried_out(call)
                except KeyboardInterrupt:
                    cancelled, response = True, _failure("the user cancelled the call")
            yield self._told(call, response)

    def _allowed(self, call: ToolCall) -> bool:
        if self.box.allows(call.name):
            self.tell(call, None)
            return True
        given = self.ask(call)
        if given == "always":
            self.box.allowed.add(call.name)
        return given in ("yes", "always")

    def _carried_out(self, call: ToolCall) -> Any:
        tool = self.box.tools.get(call.name)
        if tool is None:
            return _failure(f"unknown tool {call.name}; the tools are {', '.join(self.box.tools)}")
        try:
            return self._shortened(tool.run(call.arguments))
        except ToolFailed as error:
            return _failure(self._shortened(str(error)))

    def _shortened(self, response: Any) -> Any:
        text = response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)
        if len(text) <= self.longest:
            return response
        return f"{text[: self.longest]} [cut off after {self.longest} of {len(text)} characters]"

    def refuse(self, call: UnreadableCall) -> ToolResponse:
        """Tell the model and the user that a call could not be read. Nothing is carried out."""
        written = " ".join(call.text.split())
        shown = written if len(written) <= LONGEST_SHOWN else f"{written[:LONGEST_SHOWN]}…"
        why = (
            f"the tool call could not be read ({call.reason}) and was not run; write the call again: {shown or 'empty'}"
        )
        return self._told(ToolCall(call.name or UNKNOWN, {}), _failure(why))

    def _told(self, call: ToolCall, response: Any) -> ToolResponse:
        answered = ToolResponse(call.name, response)
        self.tell(call, answered)
        return answered


class ToolRounds:
    """The replies to one question that call tools, of which there may be ROUNDS."""

    def __init__(self, runner: ToolRunner) -> None:
        self._runner = runner
        self._count = 0
        self._refused = False

    def answers(self, turn: Turn) -> tuple[ToolResponse, ...]:
        """Run the calls of a reply and return their results for the model; none if no reply follows.

        A call that cannot be read is answered too, so that the model can write it again.
        """
        runner = self._runner
        if turn.finish_reason == "interrupted":
            return ()
        if not runner.box.tools:
            for call in turn.tool_calls:
                runner.tell(call, ToolResponse(call.name, _failure("this chat has no tools")))
            for unreadable in turn.unreadable_calls:
                runner.refuse(unreadable)
            return ()
        return (*runner.answers(turn.tool_calls), *map(runner.refuse, turn.unreadable_calls))

    def check(self, turn: Turn) -> None:
        """Raise Unfinished where the model, having been answered, is not to reply again.

        That is after ROUNDS replies that called tools, and after a second one that could not be read.
        """
        self._count += 1
        if not turn.tool_calls and (self._refused or turn.finish_reason == "length"):
            raise Unfinished("the tool call of the model could not be read: ask again, or use other words")
        if self._count == ROUNDS:
            raise Unfinished(
                f"the model called tools {ROUNDS} times in a row without an answer: ask again, or use other words"
            )
        self._refused = self._refused or bool(turn.unreadable_calls)


def _failure(why: str) -> dict[str, str]:
    return {"error": why}
