"""Recordings heard ahead: pieces of one, and of those after it, go to the model together.

The engine takes pieces as it has room for them: those of the file whose turn it is, then those of the next ones, which
are opened for it. Transcripts come in the order of the files all the same. A reply is in its recording's journal once
it is there, and a bad file is told when its turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import Request
from gemma_cli.engines.replies import replies
from gemma_cli.media.segmenter import Piece
from gemma_cli.speech.pipeline import Answer, SegmentSpan, Task, answered, loops, place_of, request_of
from gemma_cli.speech.recording import Recording
from gemma_cli.store.journal import Journal

MOST_OPEN = 32
"""Recordings that are open before their turn; more than fit a batch, as there may be silent ones among them."""

Opening = Callable[[bool], AbstractContextManager[tuple[Recording, Journal]]]
"""A function that opens a recording; its argument suppresses notices, for a recording whose turn has not come."""


@dataclass
class _PendingReply:
    """A piece and, once it has come, the reply to it, or why there is none.

    request: None once it has been asked, as it holds the sound.
    """

    place: SegmentSpan
    digest: str
    request: Request | None
    reply: Answer | InputError | None = None


class _OpenRecording:
    """A recording between opening it and writing its transcript. error: the error that ended reading it."""

    def __init__(self, task: Task, opening: Opening, quiet: bool) -> None:
        self._task = task
        self._stack = ExitStack()
        self.waiting: deque[_PendingReply] = deque()
        self.error: InputError | None = None
        self.opened: tuple[Recording, Journal] | None = None
        self._pieces: Iterator[Piece] = iter(())
        self.ended = False
        try:
            self.opened = self._stack.enter_context(opening(quiet))
            self._pieces = self.opened[0].pieces()
        except InputError as error:
            self.error, self.ended = error, True

    def read(self) -> _PendingReply | None:
        """Take the next segment; return it if its reply must be requested."""
        try:
            piece = next(self._pieces, None)
        except InputError as error:
            self.error, piece = error, None
        if piece is None or self.opened is None:
            self.ended = True
            return None
        place = place_of(self._task, piece)
        finished = self.opened[1].find(piece.audio.digest)
        if finished:
            self.waiting.append(
                _PendingReply(place, piece.audio.digest, None, reply=Answer(place, finished, resumed=True))
            )
            return None
        waiting = _PendingReply(place, piece.audio.digest, request_of(self._task, piece))
        self.waiting.append(waiting)
        return waiting

    def settle(self, waiting: _PendingReply, turn: Turn) -> None:
        """Save the reply to a segment."""
        waiting.reply = answered(waiting.place, turn)
        if self.opened:
            self.opened[1].add(waiting.digest, waiting.reply.turn)

    def close(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ended = True
        self._stack.__exit__(kind, error, trace)


class Prefetcher:
    """The recordings of one command, in order, with the replies to their segments."""

    def __init__(self, task: Task, openings: Iterable[Opening]) -> None:
        self._task = task
        self._openings = iter(openings)
        self._sources: deque[_OpenRecording] = deque()  # opened, the one whose turn it is first
        self._queue: deque[tuple[_OpenRecording, _PendingReply]] = deque()  # to be asked for
        self._asked: list[tuple[_OpenRecording, _PendingReply]] = []  # by the index of the request in the stream
        self._replies: Generator[tuple[int, Turn | InputError], None, None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._replies:
            self._replies.close()
        while self._sources:
            self._sources.popleft().close(kind, error, trace)

    @contextmanager
    def following(self) -> Iterator[tuple[Recording, Iterator[Answer]]]:
        """Return the next recording, open, and the replies to its segments as needed. Raises InputError."""
        if not self._sources:
            self._open(quiet=False)
        source = self._sources[0]
        try:
            if source.opened is None:
                raise source.error or AssertionError
            yield source.opened[0], self._answers(source)
        except BaseException as error:
            self._sources.popleft()
            source.close(type(error), error, error.__traceback__)
            raise
        self._sources.popleft()
        source.close(None, None, None)

    def _open(self, quiet: bool) -> bool:
        opening = next(self._openings, None)
        if opening:
            self._sources.append(_OpenRecording(self._task, opening, quiet))
        return opening is not None

    def _answers(self, source: _OpenRecording) -> Iterator[Answer]:
        while source.waiting or not source.ended:
            if not source.waiting:
                self._read(source)
                continue
            waiting = source.waiting[0]
            while waiting.reply is None:
                reply = next(self._replies, None) if self._replies else None
                if reply:
                    self._settle(*reply)
                else:  # nothing was left to ask then; there is now
                    self._begin()
            source.waiting.popleft()
            if isinstance(waiting.reply, InputError):
                raise waiting.reply
            yield waiting.reply
        if source.error:
            raise source.error

    def _read(self, source: _OpenRecording) -> None:
        if waiting := source.read():
            self._queue.append((source, waiting))

    def _begin(self) -> None:
        """Start the requests again; the engine is loaded with the first segment."""
        self._asked = []
        self._replies = replies(self._task.engine(), self._requests(), loops)

    def _settle(self, index: int, reply: Turn | InputError) -> None:
        source, waiting = self._asked[index]
        if isinstance(reply, InputError):
            waiting.reply = reply
        else:
            source.settle(waiting, reply)

    def _requests(self) -> Iterator[Request]:
        while self._queue or self._read_on():
            if self._queue:
                source, waiting = self._queue.popleft()
                if request := waiting.request:
                    waiting.request = None
                    self._asked.append((source, waiting))
                    yield request

    def _read_on(self) -> bool:
        """Read a segment ahead, opening the next recording if needed; return False if there is none."""
        source = next((one for one in self._sources if not one.ended), None)
        if source:
            self._read(source)
            return True
        return len(self._sources) <= MOST_OPEN and self._open(quiet=True)
