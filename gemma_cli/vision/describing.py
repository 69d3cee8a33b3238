"""The descriptions of many pictures: several under way together, given in the order of the files.

A picture is read when the engine has room for it. An answer is in the journal once it is there, and a bad file is
reported when its turn comes.
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
"""Bytes of pixels that may wait for their answers before no more pictures are read."""


@dataclass
class Description:
    """A picture and its answer, once it has come. first: the picture with the same content that was asked about."""

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
        """The answer, which has come."""
        turn = self.first.answer if self.first else self.turn
        assert turn is not None
        return turn


@dataclass
class DescribedFile:
    """The pictures of one file. error: why there are no more of them."""

    file: InputFile
    pictures: list[Description] = field(default_factory=list)
    error: InputError | None = None
    read: bool = False

    @property
    def ready(self) -> bool:
        return self.read and all(picture.ready for picture in self.pictures)


class Describer:
    """The files of one command, in order, with the descriptions of their pictures.

    named: all inputs of the command, those that are skipped among them; the journal is kept under them. dedupe: ask
    about the same pixels once.
    """

    def __init__(self, task: Task, named: Sequence[InputFile], quiet: bool, frames: bool, dedupe: bool) -> None:
        self._task, self._quiet, self._frames, self._dedupe = task, quiet, frames, dedupe
        self._named = [file.path for file in named]
        self._stack = ExitStack()
        self._journal: Journal | None = None
        self._seen: dict[str, Description] = {}
        self._waiting: deque[DescribedFile] = deque()
        self._asked: list[tuple[DescribedFile, Description]] = []  # by the index of the request
        self._held = 0  # bytes of pixels that wait for their answers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def files(self, files: Sequence[InputFile]) -> Iterator[DescribedFile]:
        """Yield each file when all its pictures are described, in order. Raises GemmaErrors that concern all."""
        unread = iter(files)
        requests = self._requests(unread)
        while (first := next(requests, None)) is not None:  # the engine is loaded when there is something to ask
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
        """Yield requests until their pixels take IN_FLIGHT bytes."""
        while self._held < IN_FLIGHT and (request := next(requests, None)):
            yield request

    def _requests(self, files: Iterator[InputFile]) -> Generator[Request, None, None]:
        """Read the files and yield what is to be asked about them; each file is noted in `_waiting`."""
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
            except UsageError as error:  # an extra that one file takes is no reason to stop the others
                described.error = error if isinstance(error, InputError) else InputError(str(error))
            described.read = True

    def _noted(self, described: DescribedFile, facts: PictureFacts, part: Image | Video) -> Description:
        """Return the picture with the answer that is known of it."""
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
        """The journal; a single picture has nothing to go on from."""
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
