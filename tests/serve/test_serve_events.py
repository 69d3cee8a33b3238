"""Events of replies on their way from the engine's thread to the responses."""

from __future__ import annotations

import asyncio

import pytest

from gemma_cli.core.events import Delta, Done, Usage
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


def test_whole_replies_wake_nobody_before_they_end() -> None:
    async def taken() -> None:
        events = Events(whole=True)
        for item in (ONE, TWO):
            events.put(0, [item])
            assert await events.next(0.01) == []
        events.put(0, [THREE, Done("stop", Usage())])
        assert [event for _, event in await events.next()] == [ONE, TWO, THREE, Done("stop", Usage())]

    asyncio.run(taken())


def test_no_event_is_lost_between_two_threads() -> None:
    texts = [str(number) for number in range(2000)]

    def put(events: Events) -> None:
        for text in texts:
            events.put(0, [Delta("answer", text)])

    async def taken() -> None:
        events = Events()
        putting = asyncio.create_task(asyncio.to_thread(put, events))
        found: list[str] = []
        while len(found) < len(texts):
            several = await events.next(20)
            assert several
            found += [event.text for _, event in several if isinstance(event, Delta)]
        assert found == texts
        await putting

    asyncio.run(taken())
