"""Measurements of an engine: bandwidth, bytes of a round, perplexity, a server's counters, and transformers as peer."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.engines.remote.metrics import DraftCounters

if TYPE_CHECKING:
    from gemma_cli.engines.local.engine import LocalEngine
    from gemma_cli.engines.remote.engine import RemoteEngine


def open_stock(engine: Engine) -> Engine:
    """The peer beside a local engine: transformers' own `generate` on the same checkpoint and drafter.

    Takes the memory of the model once more. Raises UsageError where `engine` is no local one, ModelError where
    transformers cannot load what it runs.
    """
    local = _local(engine)
    if local is None:
        raise UsageError(
            "--against transformers needs a model on this machine, but "
            f"{engine.info.model} runs on a server: leave out --engine"
        )
    from gemma_cli.engines.local.measure.transformers_peer import open_stock as beside

    return beside(local)


def read_bandwidth(engine: Engine) -> float | None:
    """Bytes a second that the engine's device reads from memory just now; None where that is not known."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.measure.roofline import bandwidth

    return bandwidth(local.target.device)


def round_bytes(engine: Engine, drafts: int, length: int) -> int | None:
    """Bytes of weights, keys and values that a round with `drafts` drafts after `length` tokens reads; None where that
    is not known, or where the weights fit the processor's cache."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.measure.roofline import of_round

    return of_round(local.target, local.drafter, drafts, length)


def weight_bytes(engine: Engine) -> int | None:
    """Bytes of all weights that a pass of the target may read, tables left out; None where that is not known."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.measure.roofline import of_weights

    return of_weights(local.target)


def perplexity(engine: Engine, exchanges: Iterable[tuple[str, str]]) -> float | None:
    """Measure the perplexity of at least one (prompt, reply); None if it cannot be known."""
    local = _local(engine)
    if local is None:
        return None
    from gemma_cli.engines.local.measure.perplexity import perplexity as of_replies

    return of_replies(local, exchanges)


def draft_counters(engine: Engine) -> DraftCounters | None:
    """Count the drafts that an engine's server has made so far; None if it does not report them."""
    module = sys.modules.get("gemma_cli.engines.remote.engine")
    return cast("RemoteEngine", engine).draft_counters() if module and isinstance(engine, module.RemoteEngine) else None


def _local(engine: Engine) -> LocalEngine | None:
    """The engine where it is a local one; without that module, which imports torch, it cannot be."""
    module = sys.modules.get("gemma_cli.engines.local.engine")
    return cast("LocalEngine", engine) if module and isinstance(engine, module.LocalEngine) else None
