"""Descriptions of many pictures: several are generated at the same time, and output in the order of the files.

A picture is read when the engine can take it. Each answer is saved in the journal at once, and a file that cannot be
read is reported in its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Self

from gemma_cli.common.resuming import resumable
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import Image, Request, Video
from gemma_cli.engines.replies import replies
from gemma_cli.media.input_files import InputFile
from gemma_cli.store.journal import Journal
from gemma_cli.vision.reading import PictureFacts, read
from gemma_cli.vision.task import Task, loops

IN_FLIGHT = 120_000_000
"""Bytes of pixels waiting for answers at which reading pauses."""


@dataclass
class Description:
    """A picture and its answer.

    resumed: whether the answer is from an earlier run.
    first: an earlier picture with the same content, whose answer this one shares.
    """

    facts: PictureFacts
    digest: str
    turn: Turn | None = None
    resumed: bool = False
    first: Description | None = None

    @property
    def ready(self) -> bool:
        return self.turn is not None or (self.first is not None and self.first.ready)

    @property
    def answer(self) -> Turn:
        """Return the answer of a picture that is ready."""
        turn = self.first.answer if self.first else self.turn
        assert turn is not None
        return turn


@dataclass
class DescribedFile:
    """The pictures of one file.

    error: why the rest of the file could not be described.
    read: whether all its pictures have been read.
    """

    file: InputFile
    pictures: list[Description] = field(default_factory=list)
    error: InputError | None = None
    read: bool = False

    @property
    def ready(self) -> bool:
        return self.read and all(picture.ready for picture in self.pictures)


class Describer:
    """Describes the pictures of a command's files, in order.

    named: all inputs of the command, including skipped ones; they identify its journal.
    frames: whether to read an animation as a video.
    dedupe: whether to describe pictures with the same pixels once.
    """

    def __init__(self, task: Task, named: Sequence[InputFile], quiet: bool, frames: bool, dedupe: bool) -> None:
        self._task, self._quiet, self._frames, self._dedupe = task, quiet, frames, dedupe
        self._named = [file.path for file in named]
        self._stack = ExitStack()
        self._journal: Journal | None = None
        self._seen: dict[str, Description] = {}
        self._waiting: deque[DescribedFile] = deque()
        self._asked: list[tuple[DescribedFile, Description]] = []  # by index of the request
        self._held = 0  # bytes of pixels waiting for answers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def files(self, files: Sequence[InputFile]) -> Iterator[DescribedFile]:
        """Yield the files in order, each when all its pictures are described. Raises errors that concern all files."""
        unread = iter(files)
        requests = self._requests(unread)
        while (first := next(requests, None)) is not None:  # the engine is loaded for the first question
            yield from self._ready()
            self._asked, begun = self._asked[-1:], chain([first], self._bounded(requests))
            with closing(replies(self._task.engine(), begun, loops)) as answers:
                for index, reply in answers:
                    self._settle(index, reply)
                    yield from self._ready()
            self._held = 0
        yield from self._ready()

    def _ready(self) -> Iterator[DescribedFile]:
        while self._waiting and self._waiting[0].ready:
            yield self._waiting.popleft()

    def _bounded(self, requests: Iterator[Request]) -> Iterator[Request]:
        """Yield requests until their pixels occupy IN_FLIGHT bytes."""
        while self._held < IN_FLIGHT and (request := next(requests, None)):
            yield request

    def _requests(self, files: Iterator[InputFile]) -> Generator[Request, None, None]:
        """Read the files, add them to `_waiting`, and yield the requests about their pictures."""
        for file in files:
            described = DescribedFile(file)
            self._waiting.append(described)
            try:
                for facts, part in read(file.path, self._quiet, self._frames):
                    picture = self._noted(described, facts, part)
                    if not picture.ready and picture.first is None:
                        self._asked.append((described, picture))
                        self._held += _bytes(part)
                        yield self._task.request(part)
            except UsageError as error:  # one file needs an extra; the others are still described
                described.error = error if isinstance(error, InputError) else InputError(str(error))
            described.read = True

    def _noted(self, described: DescribedFile, facts: PictureFacts, part: Image | Video) -> Description:
        """Add a picture to its file, with the answer if it is known, and return it."""
        digest = _digest(part) if self._dedupe else f"{_digest(part)} {facts.label}"
        picture = Description(facts, digest)
        if self._dedupe:
            first = self._seen.setdefault(digest, picture)
            picture.first = None if first is picture else first
        if picture.first is None and (finished := self._kept.find(digest)):
            picture.turn, picture.resumed = finished, True
        described.pictures.append(picture)
        return picture

    @property
    def _kept(self) -> Journal:
        """Return the journal; for a single picture it saves nothing."""
        if self._journal is None:
            self._journal = Journal()
            if len(self._named) > 1:
                key = self._task.key([self._named, self._frames, self._dedupe])
                name = f"{len(self._named)} files"
                self._journal = self._stack.enter_context(resumable(key, name, "descriptions", self._quiet))
        return self._journal

    def _settle(self, index: int, reply: Turn | InputError) -> None:
        described, picture = self._asked[index]
        if isinstance(reply, InputError):
            described.error = described.error or reply
            described.pictures.remove(picture)
        else:
            self._kept.add(picture.digest, reply)
            picture.turn = reply


def _digest(part: Image | Video) -> str:
    if isinstance(part, Image):
        return part.digest
    return " ".join(f"{second:g} {frame.digest}" for second, frame in zip(part.seconds, part.frames, strict=True))


def _bytes(part: Image | Video) -> int:
    return part.pixels.nbytes if isinstance(part, Image) else sum(frame.pixels.nbytes for frame in part.frames)
