"""RemoteEngine: an engine that sends requests to a server, several at the same time, and survives its restarts.

An interrupted request is sent again. If some of its text was already shown, the new reply must begin with that text,
which is then not shown again.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import uniform
from time import monotonic

import httpx2

from gemma_cli.core.engine import Answered, EngineInfo, EngineSpec
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.core.events import Done, Event
from gemma_cli.core.messages import Request
from gemma_cli.engines.continued import Given
from gemma_cli.engines.remote.address import KEY, parse_address, read_key
from gemma_cli.engines.remote.capabilities import check_request
from gemma_cli.engines.remote.client import Cancel, Client, Lost, error_text
from gemma_cli.engines.remote.discovery import ServedModel, discover
from gemma_cli.engines.remote.metrics import DraftCounters, read_counters
from gemma_cli.engines.remote.payload import body
from gemma_cli.engines.remote.replies import ReplyReader

TIMEOUT = "GEMMA_ENGINE_TIMEOUT"
DEFAULT_TIMEOUT_S = 300.0
CONCURRENCY = 8
TRIES = 4
"""Failures of one request that the server may be failing on."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 10.0


class RemoteEngine:
    """One model of one server. timeout_s: how long the server may be silent, or gone, before it is given up."""

    def __init__(
        self, client: Client, served: ServedModel, info: EngineInfo, concurrency: int, timeout_s: float
    ) -> None:
        self.client, self.served, self.info = client, served, info
        self.concurrency, self.timeout_s = concurrency, timeout_s
        self._alive = monotonic()

    @classmethod
    def open(cls, spec: EngineSpec) -> RemoteEngine:
        """Connect to `spec.url` and choose `spec.model` there. Raises UsageError, GemmaError."""
        began = monotonic()
        address, key, timeout_s = parse_address(spec.url or ""), read_key(), _timeout()
        concurrency = spec.concurrency or CONCURRENCY
        client = Client(address, key, concurrency, timeout_s)
        served = _discovered(client, spec.model, began + timeout_s)
        version = f" {served.version}" if served.version else ""
        notices = [] if served.exact else [f"with {served.server.name}, the same seed may give different texts"]
        notices += [f"{name} has no effect: only the server can change this setting" for name in _unused(spec)]
        if key and not address.is_secret:
            notices.append(f"the key in {KEY} is sent to {address.shown} without encryption")
        info = EngineInfo(
            model=served.name,
            assistant=None,
            device=f"{served.server.name}{version} at {address.shown}",
            dtype="",
            context=served.context,
            modalities=served.media,
            load_s=None,
            exact=served.exact,
            notice="; ".join(notices) or None,
            fingerprint=address.api,
        )
        return cls(client, served, info, concurrency, timeout_s)

    @property
    def takes_drafts(self) -> bool:
        """Whether a request may set how many tokens are drafted."""
        return self.served.server.budget_and_drafts

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """See core.engine.Engine.stream. Raises InputError, GemmaError."""
        cancel = Cancel()
        try:
            yield from self._persisted(request, cancel)
        finally:
            cancel.cancel()

    def stream_many(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        """See core.engine.Batching: `concurrency` requests are under way at once. A reply's events come together."""
        cancel = Cancel()
        finished: queue.SimpleQueue[tuple[int, list[Event] | BaseException]] = queue.SimpleQueue()

        def work(index: int, request: Request) -> None:
            try:
                finished.put((index, self._whole(request, cancel)))
            except BaseException as error:
                finished.put((index, error))

        waiting, numbered, under_way = iter(requests), count(), 0
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="gemma-request")
        try:
            while True:
                while under_way < self.concurrency and (request := next(waiting, None)) is not None:
                    pool.submit(work, next(numbered), request)
                    under_way += 1
                if not under_way:
                    return
                index, result = finished.get()
                under_way -= 1
                if isinstance(result, InputError):
                    yield index, result
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield from ((index, event) for event in result)
        finally:
            cancel.cancel()
            pool.shutdown(wait=True, cancel_futures=True)

    def draft_counters(self) -> DraftCounters | None:
        """Read the counters of drafts in the server's /metrics, or None."""
        if not (prefix := self.served.server.metrics):
            return None
        try:
            response = self.client.get("/metrics", root=True)
        except (Lost, GemmaError):
            return None
        return read_counters(response.text, prefix) if response.is_success else None

    def _whole(self, request: Request, cancel: Cancel) -> list[Event]:
        """All events of a reply. What one request alone fails on is an InputError, and does not end the others."""
        try:
            return list(self._persisted(request, cancel))
        except _FailsOnIt as error:
            raise InputError(str(error)) from None

    def _persisted(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        """The events of a reply, the request sent as often as it takes."""
        check_request(self.served.server, self.info.model, self.info.modalities, request)
        given = Given()
        failures, since = 0, 0.0
        for attempt in count():
            try:
                for event in self._once(request, cancel):
                    self._alive = monotonic()
                    yield from given.new(event)
                return
            except Lost as lost:
                if cancel.cancelled:
                    return
                failures += lost.asked
                if failures >= TRIES:
                    raise _FailsOnIt(f"{lost}, {failures} times") from None
                pause = lost.pause
                if pause is None:
                    pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * uniform(0.5, 1.0)
                if self._alive >= since:  # the first failure of this outage
                    since = monotonic()
                if monotonic() + pause > since + self.timeout_s:
                    raise GemmaError(
                        f"{lost}; gemma gave up after {self.timeout_s:g} s (to wait longer, set {TIMEOUT})"
                    ) from None
                given.again(str(lost))
                cancel.wait(pause)

    def _once(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        """The events of a reply to a request that is sent once. Raises Lost, GemmaError."""
        reader = ReplyReader(request, self.served.server.raw)
        shown = self.client.address.shown
        asked = body(request, self.info.model, self.served.server, self.info.context)
        with self.client.events("/chat/completions", asked, cancel) as sent:
            for part in sent:
                if part.data == "[DONE]":
                    break
                chunk = _chunk(part)
                if error := chunk.get("error"):
                    raise _broken(shown, error)
                yield from reader.read(chunk)
            if not reader.finished:
                raise Lost(f"{shown} sent an incomplete reply", asked=True)
        for event in reader.end():
            if isinstance(event, Done) and event.finish_reason == "stop" and request.schema is not None:
                self._check_schema(reader.answer, request.schema)
            yield event

    def _check_schema(self, answer: str, schema: str) -> None:
        from gemma_cli.engines.remote.schema import follows

        if not follows(answer, schema):
            raise GemmaError(
                f"{self.served.server.name} sent a reply that does not match the JSON schema: use another --engine"
            )


class _FailsOnIt(GemmaError):
    """The server fails on one request again and again."""


def _discovered(client: Client, wanted: str | None, deadline: float) -> ServedModel:
    """What answers now; a server that says it is not ready is waited for, one that is not there is not."""
    for attempt in count():
        try:
            return discover(client, wanted)
        except Lost as lost:
            pause = lost.pause if lost.pause is not None else min(5.0, _FIRST_PAUSE_S * 2**attempt)
            if not lost.unready or monotonic() + pause > deadline:
                raise GemmaError(f"{lost}: start the server, or correct --engine") from None
            Cancel().wait(pause)
    raise AssertionError


def _chunk(event: httpx2.ServerSentEvent) -> dict[str, object]:
    try:
        chunk = event.json()
    except (ValueError, RecursionError):
        raise Lost("the server sent data that is not JSON", asked=True) from None
    return chunk if isinstance(chunk, dict) else {}


def _broken(shown: str, error: object) -> Exception:
    """Return what an error in the middle of a stream means: a 4xx is final, anything else may pass."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 500 and code not in (408, 425, 429):
        return InputError(f"{shown} rejects the request ({code}: {error_text(error)})")
    return Lost(f"{shown} failed ({error_text(error)})", asked=True)


def _unused(spec: EngineSpec) -> list[str]:
    """The options of `spec` that only mean something on this machine."""
    names = ("assistant", "device", "dtype", "quantize")
    return [f"--{name}" for name in names if getattr(spec, name) not in (None, "auto")]


def _timeout() -> float:
    text = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(text) if text else DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise UsageError(f"{TIMEOUT}={text}: give a number of seconds above 0")
    return seconds
