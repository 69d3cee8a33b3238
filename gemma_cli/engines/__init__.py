"""Backends meet here, at one method: `stream`.

Closing the iterator (`contextlib.closing`) stops generation at once and leaves the engine fit for the next request.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast, runtime_checkable

from gemma_cli.errors import InputError, UsageError
from gemma_cli.events import Event
from gemma_cli.messages import Request

if TYPE_CHECKING:
    from gemma_cli.engines.local.engine import LocalEngine

Dtype = Literal["auto", "float32", "bfloat16"]
Quantization = Literal["int8", "int4"]


@dataclass(frozen=True)
class EngineSpec:
    """Which model to run and where.

    model: an alias, hub id or folder; None chooses (see store.checkpoints). assistant: a hub id or folder, "off" for
    none, None for the drafter that belongs to the model. device: "auto", "cpu", "cuda", "cuda:1", "mps".
    quantize: keep the weights of products in so many bits (docs/quantization.md); None: as they are stored.
    synthetic_acceptance: keep each draft with that probability; for `synthetic:` models only.
    """

    model: str | None = None
    assistant: str | None = None
    device: str = "auto"
    dtype: Dtype = "auto"
    quantize: Quantization | None = None
    synthetic_acceptance: float | None = None


@dataclass(frozen=True)
class EngineInfo:
    """What is running, for headings, JSON and the bench. modalities: subset of {"image", "audio", "video"}.

    exact: whether "same seed, same text" at every draft length was found to hold on this device; None: not known.
    notice: one line worth telling once, on stderr. synthetic_acceptance: the chance each draft is given, where drafts
    are accepted by the throw of a coin. quantize: as EngineSpec.quantize.
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


Answered = tuple[int, Event | InputError]
"""Which request, and an event of the reply to it, or why there is none."""


class Engine(Protocol):
    info: EngineInfo

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Deltas and Rounds as they happen, then one Done. Raises GemmaError subclasses only."""
        ...


@runtime_checkable
class Batching(Protocol):
    """An engine that answers several requests together where that is faster."""

    def stream_many(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        """The replies to all requests, each as `stream` gives it, with the index of its request: several under way at
        once, in any order. Requests are taken only when there is room for them. What cannot be answered gets an
        InputError in place of events, and stands in nobody's way. Raises other GemmaErrors."""
        ...


def stream_many(engine: Engine, requests: Iterable[Request]) -> Generator[Answered, None, None]:
    """See Batching.stream_many; one by one where the engine knows no better."""
    if isinstance(engine, Batching):
        yield from engine.stream_many(requests)
        return
    for index, request in enumerate(requests):
        try:
            with closing(engine.stream(request)) as events:
                for event in events:
                    yield index, event
        except InputError as error:
            yield index, error


def open_engine(spec: EngineSpec) -> Engine:
    """Load the model that `spec` names; torch is imported here and not before."""
    from gemma_cli.engines.local.engine import LocalEngine

    return LocalEngine.open(spec)


def open_stock(engine: Engine) -> Engine:
    """The peer beside a local engine: transformers' own `generate` on the same checkpoint and drafter.

    Takes the memory of the model once more. Raises UsageError where `engine` is no local one, ModelError where
    transformers cannot load what it runs.
    """
    local = _local(engine)
    if local is None:
        raise UsageError(f"{engine.info.model} is not run here, so transformers cannot be run beside it")
    from gemma_cli.engines.local.stock import open_stock as beside

    return beside(local)


def read_bandwidth(engine: Engine) -> float | None:
    """Bytes a second that the engine's device reads from memory just now; None where that is not known."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.traffic import bandwidth

    return bandwidth(local.target.device)


def round_bytes(engine: Engine, drafts: int, length: int) -> int | None:
    """Bytes of weights, keys and values that a round with `drafts` drafts after `length` tokens reads; None where that
    is not known, or where the weights fit the processor's cache."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.traffic import of_round

    return of_round(local.target, local.drafter, drafts, length)


def weight_bytes(engine: Engine) -> int | None:
    """Bytes of all weights that a pass of the target may read, tables left out; None where that is not known."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.traffic import of_weights

    return of_weights(local.target)


def perplexity(engine: Engine, exchanges: Iterable[tuple[str, str]]) -> float | None:
    """Of the replies in (prompt, reply), at least one; None where it is not known."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.perplexity import perplexity as of_replies

    return of_replies(local, exchanges)


def _local(engine: Engine) -> LocalEngine | None:
    """The engine where it is a local one; without that module, which imports torch, it cannot be."""
    module = sys.modules.get("gemma_cli.engines.local.engine")
    return cast("LocalEngine", engine) if module and isinstance(engine, module.LocalEngine) else None
