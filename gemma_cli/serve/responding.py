"""Replies under way -> one response, whole or a stream, in the form of whichever interface was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, Protocol

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from gemma_cli.core.engine import Counting, Engine
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.messages import Request
from gemma_cli.serve.answering import COMMENT, PING_S, EventStream, asked, json_response, while_present
from gemma_cli.serve.api.chat_reply import Reply
from gemma_cli.serve.api.errors import ApiError, api_error
from gemma_cli.serve.worker import Worker

Delta = dict[str, Any]


class Form(Protocol):
    """Interface of an API's response format."""

    def lines(self, index: int, delta: Delta) -> Iterator[bytes]:
        """Return the part of a stream for one delta of a reply."""
        ...

    def ended(self, index: int) -> Iterator[bytes]:
        """Return the part of a stream for the end of one reply."""
        ...

    def last(self) -> Iterator[bytes]:
        """Return the end of a stream."""
        ...

    def error(self, error: ApiError) -> bytes:
        """The line of a stream that breaks off."""
        ...

    def whole(self, deltas: Sequence[Sequence[Delta]]) -> dict[str, Any]:
        """The object of replies that are not streamed."""
        ...


async def respond(worker: Worker, http: HttpRequest, replies: list[Reply], form: Form, stream: bool) -> Response:
    """Answer a request with its replies. Raises ApiError, ClientGone."""
    log: dict[str, object] = http.scope["state"]["log"]
    if not stream:
        return json_response(await while_present(http.receive, _whole(worker, replies, form, log)))
    lines = _lines(worker, replies, form, log)
    first = await while_present(http.receive, anext(lines))  # an error before anything is sent has its own status
    return EventStream(first, lines)


async def counted(worker: Worker, engine: Engine, request: Request) -> int:
    """Count the tokens of a prompt between rounds. Raises ApiError."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[int] = loop.create_future()

    def tell(tokens: int | None, error: ApiError | None = None) -> None:
        if found.cancelled():
            return
        if error:
            found.set_exception(error)
        else:
            found.set_result(tokens or 0)

    def act() -> None:
        try:
            assert isinstance(engine, Counting)
            told: tuple[int | None, ApiError | None] = engine.prompt_tokens(request), None
        except GemmaError as error:
            told = None, api_error(error)
        except Exception as error:  # a bug, which is to end no other request
            told = None, ApiError(500, f"internal error: {type(error).__name__}", "server_error")
        loop.call_soon_threadsafe(tell, *told)

    worker.admit()
    worker.between_rounds(act)
    return await found


async def _whole(worker: Worker, replies: list[Reply], form: Form, log: dict[str, object]) -> dict[str, object]:
    deltas: list[list[Delta]] = [[] for _ in replies]
    whole = not any(reply.stops for reply in replies)  # a stop text is looked for in every round
    async with asked(worker, [reply.request for reply in replies], whole) as events:
        try:
            while not all(reply.ended for reply in replies):
                for index, event in await events.next():
                    deltas[index] += replies[index].deltas(event)
        finally:
            _note(log, replies)
    return form.whole(deltas)


async def _lines(
    worker: Worker, replies: list[Reply], form: Form, log: dict[str, object]
) -> AsyncGenerator[bytes, None]:
    """The lines of a stream, those that come at the same time in one piece: each piece costs a write to the connection.

    Raises ApiError before the first; later an error is a line.
    """
    begun = False
    async with asked(worker, [reply.request for reply in replies]) as events:
        try:
            while not all(reply.ended for reply in replies):
                found = await events.next(PING_S)
                lines = [line for index, event in found for line in _of(replies, form, index, event)]
                if piece := b"".join(lines if found else [COMMENT]):
                    begun = True
                    yield piece
        except ApiError as error:
            if not begun:
                raise
            yield form.error(error)
            return
        finally:
            _note(log, replies)
    for line in form.last():
        yield line


def _of(replies: list[Reply], form: Form, index: int, event: Any) -> Iterator[bytes]:
    """Return the part of a stream for one event."""
    reply = replies[index]
    if reply.ended:
        return
    for delta in reply.deltas(event):
        yield from form.lines(index, delta)
    if reply.ended:
        yield from form.ended(index)


def _note(log: dict[str, object], replies: list[Reply]) -> None:
    """Log the figures of the first reply, and how many there are."""
    log.update(replies[0].figures())
    if len(replies) > 1:
        log.update(n=len(replies), completion_tokens=sum(reply.usage.completion_tokens for reply in replies))
