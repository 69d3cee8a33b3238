"""Raw token text -> Deltas and ToolCalled: what Gemma 4 writes between its markers, without the markers.

    answer text <|channel>thought
    what it thinks<channel|> more answer <|tool_call>call:NAME{key:<|"|>text<|"|>,n:3}<tool_call|>

The text comes in pieces of any length; what could still become a marker is held back until it is known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from gemma_cli.core.events import Channel, Delta, ToolCalled
from gemma_cli.core.messages import ToolCall

QUOTE = '<|"|>'
MARKERS = (
    *("<|channel>", "<channel|>", "<|turn>", "<turn|>", "<|think|>"),
    *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", QUOTE),
    *("<|image>", "<|image|>", "<image|>", "<|audio>", "<|audio|>", "<audio|>", "<|video|>"),
    *("<bos>", "<eos>", "<pad>", "<unk>", "<mask>"),
)
"""Every control token of Gemma 4's vocabulary. None holds a second "<", so a marker can only begin at the last one."""

_MARKER = re.compile("|".join(map(re.escape, MARKERS)))
_BEGINNINGS = frozenset(marker[:length] for marker in MARKERS for length in range(1, len(marker)))
_LONGEST = max(map(len, MARKERS))


class ChannelParser:
    """Feed it text, pass on what it yields, flush it at the end.

    in_thought: the prompt itself ended inside a thought (after a tool's response Gemma 4's template may do that).
    """

    def __init__(self, in_thought: bool = False) -> None:
        self._held = ""  # could be the beginning of a marker
        self._channel: Channel = "thinking" if in_thought else "answer"
        self._name: str | None = None  # the channel name read so far, while reading one
        self._call: str | None = None  # the tool call read so far, while reading one
        self._blank = ""  # white space in a thought, shown only when something follows it
        self._thought_begun = False
        self._shown: dict[Channel, _Shown] = {"answer": _Shown(), "thinking": _Shown()}

    @property
    def channel(self) -> Channel:
        """Where the text read so far leaves off: a tool call and its reply belong to the answer."""
        return self._channel

    def feed(self, text: str) -> Iterator[Delta | ToolCalled]:
        """What can be shown after `text`."""
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

    def flush(self) -> Iterator[Delta | ToolCalled]:
        """The stream has ended: a lone "<" was text, a longer beginning of a marker was cut off and is dropped."""
        if self._held == "<":
            yield from self._text("<")
        self._held, self._name = "", None
        yield from self._end_call(closed=False)
        for channel, shown in self._shown.items():
            if shown.held == "<":
                yield Delta(channel, "<")
            shown.held = ""

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

    def _marker(self, marker: str) -> Iterator[Delta | ToolCalled]:
        if marker == QUOTE:
            if self._call is not None:
                self._call += marker
            return
        yield from self._end_call(closed=True)
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

    def _end_call(self, closed: bool) -> Iterator[Delta | ToolCalled]:
        """A call ends at the next marker; one that cannot be read is what the model said, and is shown."""
        if self._call is None:
            return
        body, self._call = self._call, None
        try:
            if not closed:
                raise ValueError("the reply ended inside a tool call")
            yield ToolCalled(parse_call(body))
        except ValueError:
            yield from self._show("answer", body.replace(QUOTE, '"'))


class _Shown:
    """The last look at one channel: taking a marker out can join the text around it into another, which goes too."""

    def __init__(self) -> None:
        self.held = ""

    def add(self, text: str) -> str:
        text = self.held + text
        while marker := _MARKER.search(text):
            text = text[: marker.start()] + text[marker.end() :]
        end = _safe_length(text)
        self.held = text[end:]
        return text[:end]


def _safe_length(text: str) -> int:
    """How much of `text` cannot become part of a marker by what comes next."""
    start = text.rfind("<", max(0, len(text) - _LONGEST))
    return start if start >= 0 and text[start:] in _BEGINNINGS else len(text)


def parse_call(body: str) -> ToolCall:
    """`call:NAME{key:<|"|>text<|"|>,n:3}` -> ToolCall. Raises ValueError for anything else.

    Values are Gemma 4's JSON with unquoted keys and <|"|> for quotes: text, numbers, true, false, null, {...}, [...].
    """
    head = _HEAD.match(body)
    if not head:
        raise ValueError("not a tool call")
    reader = _Values(body, head.end() - 1)
    arguments = reader.value()
    if body[reader.at :].strip():
        raise ValueError("text after the tool call")
    return ToolCall(head["name"], arguments)


_HEAD = re.compile(r"\s*call:\s*(?P<name>[^\s{}<>\"]+)\s*\{")
_SPACE = re.compile(r"\s*")
_KEY = re.compile(r"[^\s{}\[\],:<>\"]+")
_SCALAR = re.compile(r"[^{}\[\],<>\"]+")
_DEEPEST = 64


class _Values:
    """A recursive-descent reader over one call; `at` is where it stands."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.depth = text, at, 0

    def value(self) -> Any:
        if self._take("{"):
            return self._nested(self._mapping)
        if self._take("["):
            return self._nested(self._list)
        for quote in (QUOTE, '"'):
            if self._take(quote):
                return self._until(quote)
        return _scalar(self._match(_SCALAR).strip())

    def _nested(self, read: Any) -> Any:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError("nested too deep")
        found = read()
        self.depth -= 1
        return found

    def _mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._take("}"):
            if found:
                self._expect(",")
            key = self._key()
            self._expect(":")
            if key in found:
                raise ValueError(f"{key} is given twice")
            found[key] = self.value()
        return found

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while not self._take("]"):
            if found:
                self._expect(",")
            found.append(self.value())
        return found

    def _key(self) -> str:
        for quote in (QUOTE, '"'):
            if self._take(quote):
                return self._until(quote)
        return self._match(_KEY)

    def _until(self, quote: str) -> str:
        end = self.text.find(quote, self.at)
        if end < 0:
            raise ValueError("a text has no end")
        found, self.at = self.text[self.at : end], end + len(quote)
        return found

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            raise ValueError("a value is missing")
        self.at = found.end()
        return found.group()

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise ValueError(f"{mark} is missing")

    def _take(self, mark: str) -> bool:
        self._skip()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        if space:
            self.at = space.end()


def _scalar(text: str) -> str | int | float | bool | None:
    """A bare word: Gemma 4 writes numbers, true, false and null so; any other word stands for itself."""
    if not text:
        raise ValueError("a value is missing")
    if text in _NAMED:
        return _NAMED[text]
    if not _NUMBER.fullmatch(text):
        return text
    if text.lstrip("-").isdigit():
        return int(text)
    return number if math.isfinite(number := float(text)) else text


_NAMED = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
