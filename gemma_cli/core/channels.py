"""Raw token text -> Deltas, ToolCalled and UnreadableCall: what Gemma 4 writes between its markers, without them.

    answer text <|channel>thought
    what it thinks<channel|> more answer <|tool_call>call:NAME{key:<|"|>text<|"|>,n:3}<tool_call|>

The text comes in pieces of any length; what could still become a marker is held back until it is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gemma_cli.core.events import Channel, Delta, ToolCalled, UnreadableCall
from gemma_cli.core.tool_calls import QUOTE, Unreadable, called_name, parse_call

MARKERS = (
    *("<|channel>", "<channel|>", "<|turn>", "<turn|>", "<|think|>"),
    *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", QUOTE),
    *("<|image>", "<|image|>", "<image|>", "<|audio>", "<|audio|>", "<audio|>", "<|video|>"),
    *("<bos>", "<eos>", "<pad>", "<unk>", "<mask>"),
)
"""Every control token of Gemma 4's vocabulary. None holds a second "<", so a marker can only begin at the last one."""

_MARKER = re.compile("|".join(map(re.escape, MARKERS)))
_ENDS_CALL = frozenset(("<tool_call|>", "<|tool_response>", "<|turn>", "<turn|>", "<eos>", "<|channel>"))
_BEGINNINGS = frozenset(marker[:length] for marker in MARKERS for length in range(1, len(marker)))
_LONGEST = max(map(len, MARKERS))


Parsed = Delta | ToolCalled | UnreadableCall


class ChannelParser:
    """Feed it text, pass on what it yields, flush it at the end.

    in_thought: the prompt itself ended inside a thought (after a tool's response Gemma 4's template may do that).
    tools: declarations of the tools that may be called, which help to read a damaged call.
    """

    def __init__(self, in_thought: bool = False, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        self._tools = tools
        self._held = ""  # could be the beginning of a marker
        self._channel: Channel = "thinking" if in_thought else "answer"
        self._name: str | None = None  # the channel name read so far, while reading one
        self._call: str | None = None  # the tool call read so far, while reading one
        self._blank = ""  # white space in a thought, shown only when something follows it
        self._thought_begun = False
        self._shown: dict[Channel, _Shown] = {"answer": _Shown(), "thinking": _Shown()}

    @property
    def channel(self) -> Channel:
        """Return the channel at the end of the text so far: a tool call and its reply belong to the answer."""
        return self._channel

    @property
    def in_answer(self) -> bool:
        """Return whether text that follows is text of the answer."""
        return self._channel == "answer" and self._call is None

    def feed(self, text: str) -> Iterator[Parsed]:
        """Return the events that can be shown after `text`."""
        text = self._held + text
        end = _safe_length(text)
        self._held = text[end:]
        at = 0
        for marker in _MARKER.finditer(text, 0, end):
            yield from self._text(text[at : marker.start()])
            yield from self._marker(marker.group())
            at = marker.end()
        yield from self._text(text[at:end])

    def literal(self, text: str) -> Iterator[Delta]:
        """What can be shown after `text` that is known to hold no marker, even where it spells one.

        An answer is passed on as it is: under a schema, what seems a marker is part of some string.
        """
        if self._channel == "answer" and self._call is None and self._name is None and text:
            yield Delta("answer", text)
        else:
            yield from self._text(text)

    def flush(self) -> Iterator[Parsed]:
        """The stream has ended: a lone "<" was text, a longer beginning of a marker was cut off and is dropped."""
        if self._held == "<":
            yield from self._text("<")
        self._held, self._name = "", None
        yield from self._end_call("")
        for channel, shown in self._shown.items():
            if left := shown.flush():
                yield Delta(channel, left)

    def _text(self, text: str) -> Iterator[Delta]:
        if not text:
            return
        if self._call is not None:
            self._call += text
        elif self._name is not None:
            self._name, newline, rest = (self._name + text).partition("\n")
            if newline:
                self._name = None
                yield from self._text(rest)
        elif self._channel == "thinking":
            yield from self._thought(text)
        else:
            yield from self._show("answer", text)

    def _thought(self, text: str) -> Iterator[Delta]:
        text = self._blank + text
        shown = text.rstrip()
        self._blank = text[len(shown) :]
        if not self._thought_begun:
            shown = shown.lstrip()
        if shown:
            self._thought_begun = True
            yield from self._show("thinking", shown)

    def _show(self, channel: Channel, text: str) -> Iterator[Delta]:
        if text := self._shown[channel].add(text):
            yield Delta(channel, text)

    def _marker(self, marker: str) -> Iterator[Parsed]:
        if self._call is not None and not self._ends_call(marker):
            self._call += marker  # a text in the call holds it, or the call is unreadable
            return
        if marker == QUOTE:
            return
        yield from self._end_call(marker)
        self._name = None
        if marker == "<|channel>":
            self._enter("thinking")
            self._name = ""
        elif marker == "<|tool_call>":
            self._enter("answer")
            self._call = ""
        elif marker in ("<channel|>", "<turn|>"):
            self._enter("answer")

    def _enter(self, channel: Channel) -> None:
        self._channel = channel
        self._blank, self._thought_begun = "", False

    def _ends_call(self, marker: str) -> bool:
        """Whether a call ends at a marker. Within one of its texts a marker is text, unless the text lacks its end."""
        assert self._call is not None
        if marker == "<|tool_call>":
            return True
        if self._call.count(QUOTE) % 2 == 0:
            return marker in _ENDS_CALL
        return marker == "<tool_call|>" and self._readable(self._call)

    def _readable(self, body: str) -> bool:
        try:
            parse_call(body, self._tools)
        except Unreadable:
            return False
        return True

    def _end_call(self, marker: str) -> Iterator[Parsed]:
        """A call without its own end may be cut off: nothing in it is mended, or at the end of the reply even read."""
        if self._call is None:
            return
        body, self._call = self._call, None
        try:
            if not marker:
                raise Unreadable("the reply ended before the end of the call")
            yield ToolCalled(parse_call(body, self._tools, repair=marker == "<tool_call|>"))
        except Unreadable as error:
            yield UnreadableCall(called_name(body), body, str(error))


class _Shown:
    """The last look at one channel: taking a marker out can join the text around it into another, which goes too.

    Beginnings of markers stand open, one inside the other, until what follows the innermost completes it, so that the
    one around it can go on, or shows that it is text; then so are all around it.
    """

    def __init__(self) -> None:
        self._open: list[str] = []

    def add(self, text: str) -> str:
        """Read `text`; return what can be shown after it."""
        first, *others = text.split("<")
        shown = [self._follow(first)]
        for part in others:
            self._open.append("")
            shown.append(self._follow("<" + part))
        return "".join(shown)

    def flush(self) -> str:
        """Return what is left at the end: a lone "<" was text, longer beginnings of markers were cut off."""
        while self._open and self._open[-1] != "<":
            self._open.pop()
        left, self._open = "".join(self._open), []
        return left

    def _follow(self, part: str) -> str:
        """Read what follows the innermost beginning, up to the next "<"."""
        while part and self._open:
            part = self._open.pop() + part
            if marker := _MARKER.match(part):
                part = part[marker.end() :]
            elif part in _BEGINNINGS:
                self._open.append(part)
                return ""
            else:
                part, self._open = "".join(self._open) + part, []
        return part


def _safe_length(text: str) -> int:
    """Return how much of `text` can no longer become part of a marker."""
    start = text.rfind("<", max(0, len(text) - _LONGEST))
    return start if start >= 0 and text[start:] in _BEGINNINGS else len(text)
