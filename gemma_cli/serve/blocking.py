"""The worker as an engine for code that blocks, such as the speech pipeline in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from queue import SimpleQueue

from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Done, Event
from gemma_cli.core.messages import Request
from gemma_cli.serve.api.errors import ApiError, ClientGone
from gemma_cli.serve.worker import Item, Worker


class BlockingEngine:
    """An engine whose requests wait in the server's queue. `close` ends its replies."""

    def __init__(self, worker: Worker, info: EngineInfo) -> None:
        self._worker, self.info = worker, info
        self._items: SimpleQueue[Sequence[Item] | None] = SimpleQueue()
        self._closed = False

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """See core.engine.Engine.stream. Raises ApiError, and ClientGone once it is closed."""
        items = self._items = SimpleQueue()
        if self._closed:
            raise ClientGone
        job = self._worker.submit(request, items.put, admitted=True)
        try:
            while several := items.get():
                for item in several:
                    if isinstance(item, ApiError):
                        raise item
                    yield item
                    if isinstance(item, Done):
                        return
            raise ClientGone
        finally:
            self._worker.cancel(job)

    def close(self) -> None:
        """End the reply under way and those to come; called from another thread."""
        self._closed = True
        self._items.put(None)
