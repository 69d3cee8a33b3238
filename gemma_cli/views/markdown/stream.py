"""A reply drawn while it is folded into a Turn: finished markdown is printed once, only its unfinished end is redrawn.

The cost of a reply is linear in its length: a piece is rendered once when it is finished, and a frame renders no more
than a bounded part of the rest. Frames come as often as their own cost allows. Model text passes the terminal filter
before it is parsed and after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.segment import Segment

from gemma_cli.core.events import Delta, Event, Round, Turn, collect
from gemma_cli.views.markdown.body import ENDLESS, Body, MarkdownBody, ThoughtsBody
from gemma_cli.views.markdown.render import Line
from gemma_cli.views.markdown.tail import Tail
from gemma_cli.views.sanitize import safe

SHORTEST_FRAME = 0.04
"""Seconds between two frames when drawing costs nothing."""

SPARE = 8.0
"""A frame waits this many times the cost of the last one: drawing takes about a ninth of the time."""

LONGEST_WAIT = 0.5
"""Seconds between two frames however dear they are."""

TICK = 0.1
"""Seconds between frames while the model is silent and a clock is on the screen."""

PATIENCE = 0.4
"""Seconds of silence before a clock appears."""


def show(events: Iterable[Event], console: Console) -> Turn:
    """Draw a reply as markdown, its thoughts folded into one line. A stream without Done is marked as cut off."""
    return Reply(console, MarkdownBody(console)).draw(events)


def show_thinking(events: Iterable[Event], console: Console) -> Turn:
    """Draw a reply as markdown under its thoughts, dim and in full."""
    return Reply(console, MarkdownBody(console), ThoughtsBody(console)).draw(events)


class Reply:
    """A reply on the screen.

    thoughts: draws them in full; None folds them into a line that ends with `hint` (how to unfold them), or without a
    trace if that is None.
    """

    def __init__(
        self,
        console: Console,
        body: Body,
        thoughts: ThoughtsBody | None = None,
        hint: str | None = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.body = body
        self._console, self._thoughts, self._hint, self._clock = console, thoughts, hint, clock
        self._tail = Tail(console)
        self._phase: Literal["waiting", "thinking", "answering"] = "waiting"
        self._since = clock()  # when the phase began
        self._thought_tokens = self._thought_characters = 0
        self._finished: list[Line] = []  # lines that stay, not drawn yet
        self._dirty = False
        self._next_frame = 0.0

    def draw(self, events: Iterable[Event]) -> Turn:
        """Fold `events`, drawing; whatever ends the stream, what was said is on the screen and the cursor is back."""
        with self._tail, self._ticking():
            turn = None
            try:
                turn = collect(events, self._event)
            finally:
                with self._tail.lock:
                    self._end(turn)
        return turn

    def _event(self, event: Event) -> None:
        with self._tail.lock:
            match event:
                case Delta(channel="thinking"):
                    self._enter("thinking")
                    self._thought_characters += len(event.text)
                    if self._thoughts:
                        self._thoughts.feed(safe(event.text))
                case Delta():
                    self._enter("answering")
                    self.body.feed(safe(event.text))
                case Round() if self._phase != "answering":
                    self._thought_tokens += event.accepted + 1
            self._dirty = True
            if self._clock() >= self._next_frame:
                self._frame()

    def _enter(self, phase: Literal["thinking", "answering"]) -> None:
        if phase == self._phase:
            return
        self._leave()
        self._phase, self._since = phase, self._clock()

    def _leave(self) -> None:
        """Finish what the phase has on the screen."""
        width = self._tail.width
        if self._phase == "answering":
            self._finished += self.body.close(width)
        elif self._phase == "thinking":
            if self._thoughts:
                self._finished += self._thoughts.close(width)
            if self._thoughts or self._hint is not None:
                self._finished += [self._folded_line(), []]
            self._thought_tokens = self._thought_characters = 0

    def _folded_line(self) -> Line:
        shown = self._thoughts is not None
        mark = {(True, True): "v", (True, False): ">", (False, True): "▾", (False, False): "▸"}[self._ascii, shown]
        hint = f" · {self._hint}" if self._hint and not shown else ""
        return self._note(f"{mark} thought for {self._measure()}{hint}")

    def _end(self, turn: Turn | None) -> None:
        self._leave()
        if turn and turn.finish_reason == "interrupted" and (turn.text or turn.thinking):
            self._finished.append(self._note("[cut off]"))
        self._phase = "answering"
        self._frame()

    def _frame(self) -> None:
        began = self._clock()
        unfinished = self._advance()
        finished, self._finished = self._finished, []
        self._tail.draw(finished, unfinished)
        self._dirty = False
        ended = self._clock()
        self._next_frame = ended + min(LONGEST_WAIT, max(SHORTEST_FRAME, SPARE * (ended - began)))

    def _advance(self) -> list[Line]:
        """Collect finished lines, and return the lines that follow for now."""
        width, rows = self._tail.width, self._tail.height if self._tail.live else ENDLESS
        match self._phase:
            case "answering":
                finished, unfinished = self.body.advance(width, rows)
            case "thinking":
                finished, unfinished = self._thoughts.advance(width, rows - 1) if self._thoughts else ([], [])
                unfinished.append(self._status("thinking", self._measure()))
            case "waiting":
                elapsed = self._clock() - self._since
                finished, unfinished = [], [self._status("reading", f"{elapsed:.0f} s")] if elapsed > PATIENCE else []
        self._finished += finished
        return unfinished

    def _measure(self) -> str:
        """Return how long the thoughts took and their length: in tokens if the engine reports rounds, else in
        characters."""
        elapsed = self._clock() - self._since
        if self._thought_tokens:
            return f"{elapsed:.1f} s · {self._thought_tokens} tokens"
        return f"{elapsed:.1f} s · {self._thought_characters} characters"

    def _status(self, doing: str, measure: str) -> Line:
        spinner = "-\\|/" if self._ascii else "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
        frame = spinner[int(self._clock() / TICK) % len(spinner)]
        return self._note(f"{frame} {doing} {measure} · Ctrl+C stops")

    def _note(self, text: str) -> Line:
        return [Segment(text.replace(" · ", " - ") if self._ascii else text, self._console.get_style("dim"))]

    @property
    def _ascii(self) -> bool:
        return self._console.options.ascii_only

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        """Frames while no event comes: the clock runs on, and the last words of a burst are not kept waiting."""
        if not self._tail.live:
            yield
            return
        stop = threading.Event()

        def tick() -> None:
            while not stop.wait(TICK):
                with self._tail.lock:
                    if not stop.is_set() and (self._dirty or self._phase != "answering"):
                        self._frame()

        ticker = threading.Thread(target=tick, name="gemma-ticker", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            stop.set()
            ticker.join()
