"""The chunks of a streamed reply -> events. Nothing in a chunk is trusted to be there, or to be of its type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any

from gemma_cli.core.channels import ChannelParser
from gemma_cli.core.events import Delta, Done, Event, FinishReason, Progress, Round, Timings, ToolCalled, Usage
from gemma_cli.core.events import UnreadableCall as Unreadable
from gemma_cli.core.messages import Request, ToolCall

_FINISHES: Mapping[str, FinishReason] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
_MOST_CALLS = 64


class ReplyReader:
    """Reads the chunks of one reply. answer: its text so far, without thoughts."""

    def __init__(self, request: Request, raw: bool = False) -> None:
        """Read a reply to `request`. raw: its text may hold Gemma 4's markers, and is read as the local engine does."""
        self._request = request
        self._raw = raw and request.schema is None
        self._parser = ChannelParser(tools=request.tools)
        self._raw_thoughts = False  # what comes as a thought begins with a marker: it is the raw text
        self._raw_calls: list[Event] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._unasked = ""  # thoughts that were not asked for: the answer, where no other comes
        self.answer = ""
        self._reason: str | None = None
        self._usage = Usage()
        self._began = perf_counter()
        self._first = self._last = 0.0
        self._drafted = self._accepted = 0
        self._json = _OneLine() if request.schema is not None else None

    @property
    def finished(self) -> bool:
        """Whether the server gave a reason for the end of the reply."""
        return self._reason is not None

    def read(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """Give the events of one chunk."""
        self._read_usage(_mapping(chunk.get("usage")))
        choices = chunk.get("choices")
        choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
        delta = _mapping(choice.get("delta"))
        texts = list(self._texts(delta))
        calls = delta.get("tool_calls")
        self._read_calls(calls if isinstance(calls, list) else [])
        if texts or self._unasked or self._calls:
            self._last = perf_counter()
            self._first = self._first or self._last
        yield from self._round(_mapping(chunk.get("timings")))
        yield from texts
        if texts:
            yield Progress(self._usage, self._timings())
        if isinstance(reason := choice.get("finish_reason"), str):
            self._reason = reason

    def end(self) -> Iterator[Event]:
        """Yield the events known only at the end: calls, an answer that arrived as a thought, and Done."""
        if self._unasked and not self.answer and not self._calls:
            yield from self._text(self._unasked)
        yield from self._sorted(self._parser.flush())
        yield from self._raw_calls
        for _, call in sorted(self._calls.items()):
            yield _called(call)
        reason = _FINISHES.get(self._reason or "", "stop")
        yield Done("tool_calls" if self._calls or self._raw_calls else reason, self._usage, self._timings())

    def _texts(self, delta: Mapping[str, Any]) -> Iterator[Delta]:
        thought = delta.get("reasoning") or delta.get("reasoning_content")  # `gemma serve` sends both, the same
        if isinstance(thought, str) and thought:
            self._raw_thoughts |= self._raw and thought.startswith("<|")
            if self._raw_thoughts:
                yield from self._text(thought)
            elif self._request.thinking:
                yield Delta("thinking", thought)
            else:
                self._unasked += thought
        text = delta.get("content")
        if isinstance(text, str) and (text := self._json.feed(text) if self._json else text):
            yield from self._text(text)

    def _text(self, text: str) -> Iterator[Delta]:
        yield from self._sorted(self._parser.feed(text) if self._raw else [Delta("answer", text)])

    def _sorted(self, events: Iterable[Event]) -> Iterator[Delta]:
        """Yield texts immediately, and collect calls for the end."""
        for event in events:
            if not isinstance(event, Delta):
                self._raw_calls.append(event)
                continue
            self.answer += event.text if event.channel == "answer" else ""
            yield event

    def _read_calls(self, calls: list[Any]) -> None:
        """Join the parts of calls: the name comes first, then the arguments in parts."""
        for position, part in enumerate(map(_mapping, calls)):
            index = part.get("index", position)
            if not isinstance(index, int) or len(self._calls) >= _MOST_CALLS:
                continue
            call = self._calls.setdefault(index, {"name": "", "arguments": ""})
            for key, value in _mapping(part.get("function")).items():
                if key in call and isinstance(value, str):
                    call[key] += value
                elif key == "arguments" and isinstance(value, dict):
                    call[key] = json.dumps(value)

    def _read_usage(self, usage: Mapping[str, Any]) -> None:
        if usage:
            details = _mapping(usage.get("completion_tokens_details"))
            self._usage = Usage(
                _count(usage.get("prompt_tokens")),
                _count(usage.get("completion_tokens")),
                _count(details.get("reasoning_tokens")),
            )

    def _round(self, timings: Mapping[str, Any]) -> Iterator[Round]:
        """Give the target pass between two chunks, where counts of drafts come with them (llama-server)."""
        drafted, accepted = _count(timings.get("draft_n")), _count(timings.get("draft_n_accepted"))
        if drafted > self._drafted:
            more = drafted - self._drafted
            yield Round(more, min(more, max(0, accepted - self._accepted)))
            self._drafted, self._accepted = drafted, accepted

    def _timings(self) -> Timings:
        if not self._first:
            return Timings()
        return Timings(ttft_s=self._first - self._began, decode_s=self._last - self._first)


class _OneLine:
    """Return JSON on one line, as `--schema` promises. Line breaks can occur only between its tokens."""

    def __init__(self) -> None:
        self._blank = ""

    def feed(self, text: str) -> str:
        """Return `text` with white space that contains a line break reduced to one space, or to none at either end."""
        written = ""
        for character in text:
            if character in " \t\r\n":
                self._blank += character
                continue
            written += (" " if set(self._blank) & {"\r", "\n"} else self._blank) if self._blank else ""
            written, self._blank = written + character, ""
        return written


def _called(call: Mapping[str, str]) -> Event:
    name, text = call["name"], call["arguments"] or "{}"
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        return Unreadable(name or None, text, "the server sent arguments that are not JSON")
    if not name or not isinstance(arguments, dict):
        return Unreadable(
            name or None, text, "the server sent a call without a name, or without a JSON object of arguments"
        )
    return ToolCalled(ToolCall(name, arguments))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
