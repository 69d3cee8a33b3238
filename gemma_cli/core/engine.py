"""The engine seam: backends meet at one method, `stream`.

Closing the iterator (`contextlib.closing`) stops generation at once and leaves the engine fit for the next request.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Literal, Protocol, runtime_checkable

from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Event
from gemma_cli.core.messages import Request
from gemma_cli.core.records import dataclass

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

Quantization = Literal["int8", "int4"]


@dataclass(frozen=True)
class EngineSpec:
    """Which model to run and where.

    model: an alias, hub id, folder or `scheme:rest` (engines.BACKENDS); None chooses (see store.models.checkpoints).
    assistant: a hub id or folder, "off" for none, None for the drafter that belongs to the model.
    device: "auto", "cpu", "cuda", "cuda:1", "mps".
    quantize: keep the weights of products in so many bits (docs/quantization.md); None: as they are stored.
    synthetic_acceptance: keep each draft with that probability; for `synthetic:` models only.
    url: a server to ask instead, as engines.remote.address reads it; `model` is then one of its models.
    concurrency: requests that are under way at the server at once; None for the default.
    keep_quantized: whether quantized weights may be saved on the disk, for faster starts.
    """

    model: str | None = None
    assistant: str | None = None
    device: str = "auto"
    dtype: Dtype = "auto"
    quantize: Quantization | None = None
    synthetic_acceptance: float | None = None
    url: str | None = None
    concurrency: int | None = None
    keep_quantized: bool = True


@dataclass(frozen=True)
class EngineInfo:
    """The engine in use, for headings, JSON and the bench. modalities: subset of {"image", "audio", "video"}.

    exact: whether "same seed, same text" at every draft length was found to hold on this device; None: not known.
    notice: one line worth telling once, on stderr. synthetic_acceptance: the chance each draft is given, where drafts
    are accepted by the throw of a coin. quantize: as EngineSpec.quantize. fingerprint: differs between weights of the
    same name; "" where nothing can tell them apart. kernels: the build of our own kernels; None where torch
    computes. image_budget: soft tokens a picture may take where a request does not say; None: not known. logprobs:
    whether it can give Request.logprobs.
    """

    model: str
    assistant: str | None
    device: str
    dtype: str
    context: int  # tokens
    modalities: frozenset[str]
    load_s: float | None = None
    exact: bool | None = None
    notice: str | None = None
    synthetic_acceptance: float | None = None
    quantize: Quantization | None = None
    fingerprint: str = ""
    kernels: str | None = None
    image_budget: int | None = None
    logprobs: bool = False


Answered = tuple[int, Event | InputError]
"""The index of a request, and an event of its reply or the error in place of one."""


class Engine(Protocol):
    info: EngineInfo

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Deltas and Rounds as they happen, then one Done. Raises GemmaError subclasses only."""
        ...


@runtime_checkable
class Batching(Protocol):
    """An engine that answers several requests as a batch, if that is faster."""

    def stream_many(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        """The replies to all requests, each as `stream` gives it, with the index of its request: several under way at
        once, in any order. Requests are taken only when there is room for them. What cannot be answered gets an
        InputError in place of events, and stands in nobody's way. Raises other GemmaErrors."""
        ...


@runtime_checkable
class Counting(Protocol):
    """An engine that can count the tokens of a prompt before it reads it."""

    def prompt_tokens(self, request: Request) -> int:
        """Count exactly the tokens of the request's prompt, which may be more than the context holds.

        Raises GemmaError where no prompt can be written.
        """
        ...


class FeatureShelf(Protocol):
    """Where what a tower made of media is kept between runs of the program, by the medium's digest and the tower."""

    def find(self, digest: str, tower: str) -> bytes | None: ...

    def keep(self, digest: str, tower: str, rows: bytes) -> None: ...


@runtime_checkable
class Remembering(Protocol):
    """An engine that looks for features on a shelf before it makes them, and puts there what it made."""

    def remember_on(self, shelf: FeatureShelf) -> None: ...


def stream_many(engine: Engine, requests: Iterable[Request]) -> Generator[Answered, None, None]:
    """See Batching.stream_many; one by one where the engine knows no better."""
    return engine.stream_many(requests) if isinstance(engine, Batching) else _one_by_one(engine, requests)


def _one_by_one(engine: Engine, requests: Iterable[Request]) -> Generator[Answered, None, None]:
    for index, request in enumerate(requests):
        try:
            with closing(engine.stream(request)) as events:
                for event in events:
                    yield index, event
        except InputError as error:
            yield index, error
