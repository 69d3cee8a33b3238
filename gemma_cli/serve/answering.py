"""Responses to requests, complete or streamed, for as long as the client stays connected."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gemma_cli.core.events import Done, Event
from gemma_cli.core.messages import Request
from gemma_cli.serve.api.errors import ApiError, ClientGone
from gemma_cli.serve.worker import Item, Worker

PING_S = 5.0
"""Seconds without an event after which a stream sends a comment."""

Result = TypeVar("Result")


class Events:
    """The events of jobs as they come to a task of the event loop.

    whole: the task needs none before a job ends, so that it is woken once for a job and not in every round.
    """

    def __init__(self, whole: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._whole = whole
        self._put: deque[tuple[int, Item]] = deque()
        self._ready: deque[tuple[int, Item]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False

    def put(self, index: int, items: Sequence[Item]) -> None:
        """Take in events of one of the jobs; called from any thread."""
        self._put.extend((index, item) for item in items)
        if not (self._woken or (self._whole and not isinstance(items[-1], Done | ApiError))):
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake)

    async def next(self, timeout: float | None = None) -> list[tuple[int, Event]]:
        """Wait for events and return all that are there, each with the index of its job.

        None come within `timeout` seconds: the list is empty. Raises ApiError once the events before it are returned.
        """
        if not self._ready:
            await self._wait(timeout)
        events: list[tuple[int, Event]] = []
        while self._ready:
            index, item = self._ready[0]
            if isinstance(item, ApiError):
                if events:
                    break
                raise item
            events.append((index, item))
            self._ready.popleft()
        return events

    def _wake(self) -> None:
        self._woken = False  # before the events are taken: what is put from now on wakes again
        while self._put:
            self._ready.append(self._put.popleft())
        if self._ready:
            self._proceed()

    def _proceed(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout: float | None) -> None:
        """Wait until there are events, or the time is over."""
        self._waiter = self._loop.create_future()
        ending = self._loop.call_later(timeout, self._proceed) if timeout else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if ending:
                ending.cancel()


@asynccontextmanager
async def asked(worker: Worker, requests: Iterable[Request], whole: bool = False) -> AsyncIterator[Events]:
    """Put requests into the line, and take them back when their events are not wanted any more. Raises ApiError."""
    events = Events(whole)
    jobs = []
    try:
        for index, request in enumerate(requests):
            jobs.append(worker.submit(request, partial(events.put, index)))
        yield events
    finally:
        for job in jobs:
            worker.cancel(job)


async def while_present(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work, or drop it when the client goes away: raises ClientGone then."""
    gone = asyncio.create_task(_gone(receive))
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(gone, task, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def encoded(value: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8; half a surrogate pair stays an escape."""
    return _ENCODER.encode(value).encode("utf-8", "backslashreplace")


def json_response(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Build a response that contains one JSON object."""
    return Response(encoded(value), status, dict(headers or {}), "application/json")


def error_response(error: ApiError) -> Response:
    """The response that tells an error."""
    return json_response(error.body(), error.status, error.headers)


class EventStream(Response):
    """Server-sent events, written as `lines` gives them after the first."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, lines: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first, self._lines = first, lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or the client goes away."""
        try:
            await while_present(receive, self._send(send))
        except ClientGone:  # the response has begun, so there is nobody to tell but the log
            scope["state"]["log"]["gone"] = True
        finally:
            await self._lines.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


COMMENT = b": reading\n\n"
"""A comment that keeps an idle connection open."""


def sse(value: Mapping[str, Any], event: str | None = None) -> bytes:
    """Format one server-sent event."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + encoded(value) + b"\n\n"
