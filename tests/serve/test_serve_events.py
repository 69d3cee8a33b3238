"""Events of replies on their way from the engine's thread to the responses."""

from __future__ import annotations

import asyncio

import pytest

from gemma_cli.core.events import Delta
from gemma_cli.serve.answering import Events
from gemma_cli.serve.api.errors import ApiError

ONE, TWO, THREE = (Delta("answer", text) for text in ("one", "two", "three"))


def test_events_that_are_there_come_together_and_an_error_after_them() -> None:
    async def taken() -> None:
        events = Events()
        events.put(0, [ONE, TWO])
        events.put(1, [THREE, ApiError(503, "out of memory")])
        await asyncio.sleep(0)
        assert await events.next() == [(0, ONE), (0, TWO), (1, THREE)]
        with pytest.raises(ApiError, match="out of memory"):
            await events.next()

    asyncio.run(taken())


def test_no_event_within_the_time_is_an_empty_list() -> None:
    async def taken() -> None:
        assert await Events().next(0.01) == []

    asyncio.run(taken())
