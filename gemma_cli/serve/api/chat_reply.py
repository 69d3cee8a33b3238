"""Conversion of a reply's events to response objects, complete or streamed."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_cli.core.events import Delta, Done, Event, Progress, Round, Speculation, ToolCalled, UnreadableCall, Usage
from gemma_cli.core.messages import Request
from gemma_cli.serve.api.receipt import Receipt
from gemma_cli.serve.api.stop_text import StopText

Fields = dict[str, Any]


def usage_object(usage: Usage) -> Fields:
    """Token counts as OpenAI names them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
    }


@dataclass
class Reply:
    """A reply in progress. ended: a stop text was found, or Done has arrived."""

    request: Request
    receipt: Receipt
    stops: Sequence[str] = ()
    raw: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    ended: bool = False
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    speculation: Speculation = field(default_factory=Speculation)
    calls: int = 0
    begun: bool = False

    def __post_init__(self) -> None:
        self.id = f"{'cmpl' if self.raw else 'chatcmpl'}-{secrets.token_hex(12)}"
        self._stop = StopText(self.stops)

    def deltas(self, event: Event) -> Iterator[Fields]:
        """Return what one more event adds to the message, as deltas of a chat completion."""
        match event:
            case _ if self.ended:
                return
            case Delta("thinking", text):
                yield {"reasoning_content": text, "reasoning": text}
            case Delta(_, text):
                yield from self._answer(self._stop.feed(text))
                self._end("stop" if self._stop.found else None)
            case ToolCalled(call):
                function = {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)}
                name = f"call_{self.id[-8:]}{self.calls}"
                yield {"tool_calls": [{"index": self.calls, "id": name, "type": "function", "function": function}]}
                self.calls += 1
            case UnreadableCall():
                yield from self._answer(event.text)
            case Round():
                self.speculation.rounds.append(event)
            case Progress(usage):
                self.usage = usage
            case Done(reason, usage):
                self.usage = usage
                yield from self._answer(self._stop.flush())
                self._end(reason)

    def _answer(self, text: str) -> Iterator[Fields]:
        if text:
            yield {"content": text}

    def _end(self, reason: str | None) -> None:
        if reason:
            self.ended, self.finish_reason = True, reason

    def chunk(self, delta: Fields, finish_reason: str | None = None) -> Fields:
        """Build one object of a stream; the first one has the role."""
        if not self.begun:
            delta, self.begun = {"role": "assistant", **delta}, True
        if self.raw:
            choice = {"index": 0, "text": delta.get("content", ""), "logprobs": None, "finish_reason": finish_reason}
            return self._object("text_completion", [choice])
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._object("chat.completion.chunk", [choice])

    def last_chunks(self, include_usage: bool) -> Iterator[Fields]:
        """The objects that end a stream: why it ended, with the receipt, and the figures where they are asked for."""
        yield self.chunk({}, self.finish_reason) | {"gemma": self.gemma()}
        if include_usage:
            kind = "text_completion" if self.raw else "chat.completion.chunk"
            yield self._object(kind, []) | {"usage": usage_object(self.usage)}

    def whole(self, deltas: Sequence[Fields]) -> Fields:
        """The object of a reply that is not streamed."""
        text = "".join(delta.get("content", "") for delta in deltas)
        if self.raw:
            choice: Fields = {"index": 0, "text": text, "logprobs": None, "finish_reason": self.finish_reason}
            kind = "text_completion"
        else:
            message = self._message(text, deltas)
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
            kind = "chat.completion"
        return self._object(kind, [choice]) | {"usage": usage_object(self.usage), "gemma": self.gemma()}

    def _message(self, text: str, deltas: Sequence[Fields]) -> Fields:
        thought = "".join(delta.get("reasoning", "") for delta in deltas)
        calls = [
            {name: value for name, value in call.items() if name != "index"}
            for delta in deltas
            for call in delta.get("tool_calls", ())
        ]
        message: Fields = {"role": "assistant", "content": text if text or not calls else None}
        if thought:
            message |= {"reasoning_content": thought, "reasoning": thought}
        if calls:
            message["tool_calls"] = calls
        return message

    def figures(self) -> Fields:
        """Return the fields of a reply for the log."""
        return {
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "finish_reason": self.finish_reason,
            "seed": self.request.sampling.seed,
        }

    def gemma(self) -> Mapping[str, Any]:
        """The receipt: all that the text depends on, and how drafting went."""
        return self.receipt.of(self.request, self.speculation)

    def _object(self, kind: str, choices: list[Fields]) -> Fields:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.receipt.model,
            "system_fingerprint": self.receipt.fingerprint,
            "choices": choices,
        }
