"""The deltas of a chat completion -> blocks of one kind each: thoughts, text, calls, in the order they came."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "thinking", "call"]


@dataclass
class Block:
    """A piece of a reply. text: all of it, of a call its arguments; new: what came last. id, name: of a call."""

    index: int
    kind: Kind
    text: str = ""
    new: str = ""
    id: str = ""
    name: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a call; none where they were cut off."""
        try:
            value = json.loads(self.text or "{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


Change = tuple[Literal["begun", "more", "ended"], Block]


class Blocks:
    """Splits a reply. all: the blocks so far."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None

    def feed(self, delta: dict[str, Any]) -> Iterator[Change]:
        """Give what one delta changes, as it changes."""
        if thought := delta.get("reasoning"):
            yield from self._more("thinking", thought)
        if text := delta.get("content"):
            yield from self._more("text", text)
        for call in delta.get("tool_calls", ()):
            if call.get("id"):
                yield from self.end()
                yield self._begin(Block(len(self.all), "call", id=call["id"], name=call["function"]["name"]))
            if arguments := call["function"].get("arguments"):
                yield from self._more("call", arguments)

    def end(self) -> Iterator[Change]:
        """End the block that is open."""
        if self._open:
            yield "ended", self._open
            self._open = None

    def _more(self, kind: Kind, text: str) -> Iterator[Change]:
        if self._open is None or self._open.kind != kind:
            yield from self.end()
            yield self._begin(Block(len(self.all), kind))
        assert self._open
        self._open.text += text
        self._open.new = text
        yield "more", self._open

    def _begin(self, block: Block) -> Change:
        self._open = block
        self.all.append(block)
        return "begun", block


class BlockForm(ABC):
    """What the forms (responding.Form) of APIs whose replies are lists of blocks have in common."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._begun = False

    def lines(self, _index: int, delta: dict[str, Any]) -> Iterator[bytes]:
        """See responding.Form."""
        yield from self._started()
        for kind, block in self._blocks.feed(delta):
            yield from self._block(kind, block)

    def ended(self, _index: int) -> Iterator[bytes]:
        """See responding.Form."""
        yield from ()

    def last(self) -> Iterator[bytes]:
        """See responding.Form."""
        yield from self._started()
        for kind, block in self._blocks.end():
            yield from self._block(kind, block)
        yield from self._finish()

    def _started(self) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            yield from self._start()

    @abstractmethod
    def _start(self) -> Iterator[bytes]:
        """Give the events that begin a stream."""

    @abstractmethod
    def _block(self, kind: str, block: Block) -> Iterator[bytes]:
        """Give the events of a block that begins ("begun"), grows by `block.new` ("more") or ends ("ended")."""

    @abstractmethod
    def _finish(self) -> Iterator[bytes]:
        """Give the events that end a stream."""
