"""Conversion of a reply's events to response objects, complete or streamed."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_cli.common.receipts import Receipt
from gemma_cli.core.events import (
    Delta,
    Done,
    Event,
    Progress,
    Round,
    Speculation,
    TokenChosen,
    ToolCalled,
    UnreadableCall,
    Usage,
)
from gemma_cli.core.messages import Request
from gemma_cli.serve.answering import sse
from gemma_cli.serve.api.errors import ApiError
from gemma_cli.serve.api.forced_call import ForcedCall
from gemma_cli.serve.api.logprobs import PlacedToken, TokenLine, chat_logprobs, raw_logprobs
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
    """A reply in progress. ended: a stop text was found, or Done has arrived.

    forced: the call that the reply is, where it must be one. index: which of several it is.
    """

    request: Request
    receipt: Receipt
    stops: Sequence[str] = ()
    raw: bool = False
    forced: ForcedCall | None = None
    index: int = 0
    created: int = field(default_factory=lambda: int(time.time()))
    ended: bool = False
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    speculation: Speculation = field(default_factory=Speculation)
    calls: int = 0
    text: str = ""
    begun: bool = False

    def __post_init__(self) -> None:
        self.id = f"{'cmpl' if self.raw else 'chatcmpl'}-{secrets.token_hex(12)}"
        self._stop = StopText(() if self.forced else self.stops)
        self._line = TokenLine()

    @property
    def stopped_by(self) -> str | None:
        """The text that stopped it."""
        return self._stop.which

    def deltas(self, event: Event) -> Iterator[Fields]:
        """Return what one more event adds to the message, as deltas of a chat completion.

        Where log-probabilities are asked for, a delta of the answer has its tokens under `logprobs`.
        """
        match event:
            case _ if self.ended:
                return
            case Delta("thinking", text):
                yield {"reasoning_content": text, "reasoning": text}
            case Delta(_, text):
                yield from self._answer(self._stop.feed(text))
                self._end("stop" if self._stop.found else None)
            case ToolCalled(call):
                yield self._call(call.name, json.dumps(dict(call.arguments), ensure_ascii=False))
            case UnreadableCall():
                yield from self._answer(event.text)
            case TokenChosen():
                self._line.add(event)
            case Round():
                self.speculation.rounds.append(event)
            case Progress(usage):
                self.usage = usage
            case Done(reason, usage):
                self.usage = usage
                yield from self._answer(self._stop.flush())
                if not self.forced and (left := self._line.rest()):
                    yield {"content": "", "logprobs": left}
                self._end("tool_calls" if self.forced and reason == "stop" else reason)

    def _answer(self, text: str) -> Iterator[Fields]:
        self.text += text
        if self.forced:
            for name, arguments in self.forced.feed(text):
                yield self._call(name, arguments)
        elif text:
            yield {"content": text} | ({"logprobs": self._line.shown(text)} if self._scored else {})

    @property
    def _scored(self) -> bool:
        """Whether log-probabilities are asked for."""
        return self.request.logprobs is not None

    def _logprobs(self, tokens: Sequence[PlacedToken] | None) -> Fields | None:
        """`logprobs` of a choice."""
        if tokens is None or not self._scored:
            return None
        return raw_logprobs(tokens) if self.raw else chat_logprobs(tokens)

    def _call(self, name: str, arguments: str) -> Fields:
        """The delta of a call; without a name, of more of its arguments."""
        if not name:
            return {"tool_calls": [{"index": self.calls - 1, "function": {"arguments": arguments}}]}
        self.calls += 1
        identity = f"call_{self.id[-8:]}{self.index or ''}{self.calls - 1}"
        function = {"name": name, "arguments": arguments}
        call = {"index": self.calls - 1, "id": identity, "type": "function", "function": function}
        return {"tool_calls": [call]}

    def _end(self, reason: str | None) -> None:
        if reason:
            self.ended, self.finish_reason = True, reason

    def chunk(self, delta: Fields, finish_reason: str | None = None) -> Fields:
        """Build one object of a stream; the first one has the role."""
        logprobs = self._logprobs(delta.get("logprobs"))
        delta = {name: value for name, value in delta.items() if name != "logprobs"}
        if not self.begun:
            delta, self.begun = {"role": "assistant", **delta}, True
        if self.raw:
            choice = {
                "index": self.index,
                "text": delta.get("content", ""),
                "logprobs": logprobs,
                "finish_reason": finish_reason,
            }
            return self._object("text_completion", [choice])
        choice = {"index": self.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._object("chat.completion.chunk", [choice])

    def last_chunk(self) -> Fields:
        """The last object of a stream with a choice: why it ended, with the receipt."""
        return self.chunk({}, self.finish_reason) | {"gemma": self.gemma()}

    def usage_chunk(self, usage: Usage) -> Fields:
        """The object of a stream that has figures."""
        return self._object("text_completion" if self.raw else "chat.completion.chunk", []) | {
            "usage": usage_object(usage)
        }

    def whole(self, deltas: Sequence[Fields]) -> Fields:
        """The object of a reply that is not streamed."""
        text = "".join(delta.get("content", "") for delta in deltas)
        logprobs = self._logprobs([token for delta in deltas for token in delta.get("logprobs", ())])
        choice: Fields = {"index": self.index, "logprobs": logprobs, "finish_reason": self.finish_reason}
        if self.raw:
            choice["text"], kind = text, "text_completion"
        else:
            choice["message"], kind = self._message(text, deltas), "chat.completion"
        return self._object(kind, [choice]) | {"usage": usage_object(self.usage), "gemma": self.gemma()}

    def _message(self, text: str, deltas: Sequence[Fields]) -> Fields:
        thought = "".join(delta.get("reasoning", "") for delta in deltas)
        calls: list[Fields] = []
        for call in (call for delta in deltas for call in delta.get("tool_calls", ())):
            if "id" in call:
                calls.append({"id": call["id"], "type": "function", "function": dict(call["function"])})
            else:
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
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
        return self.receipt.of(self.request, self.speculation, self.text, self.stops)

    def _object(self, kind: str, choices: list[Fields]) -> Fields:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.receipt.model,
            "system_fingerprint": self.receipt.fingerprint,
            "choices": choices,
        }


class ChatForm:
    """Replies as chat completions, or raw ones."""

    def __init__(self, replies: Sequence[Reply], include_usage: bool) -> None:
        self._replies, self._include_usage = replies, include_usage

    def lines(self, index: int, delta: Fields) -> Iterator[bytes]:
        """See responding.Form."""
        yield sse(self._replies[index].chunk(delta))

    def ended(self, index: int) -> Iterator[bytes]:
        """See responding.Form."""
        yield sse(self._replies[index].last_chunk())

    def last(self) -> Iterator[bytes]:
        """See responding.Form."""
        if self._include_usage:
            yield sse(self._replies[0].usage_chunk(self._usage()))
        yield b"data: [DONE]\n\n"

    def whole(self, deltas: Sequence[Sequence[Fields]]) -> Fields:
        """See responding.Form."""
        wholes = [reply.whole(own) for reply, own in zip(self._replies, deltas, strict=True)]
        choices = [choice for whole in wholes for choice in whole["choices"]]
        return wholes[0] | {"choices": choices, "usage": usage_object(self._usage())}

    @staticmethod
    def error(error: ApiError) -> bytes:
        """See responding.Form."""
        return sse(error.body())

    def _usage(self) -> Usage:
        """The prompt's tokens, and those of all replies."""
        usages = [reply.usage for reply in self._replies]
        completion = sum(usage.completion_tokens for usage in usages)
        return Usage(usages[0].prompt_tokens, completion, sum(usage.thinking_tokens for usage in usages))
