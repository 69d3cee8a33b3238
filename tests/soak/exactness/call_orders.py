"""Random orders of calls to two engines of pocket, with each text compared to that of an engine opened for it alone."""

from __future__ import annotations

import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.messages import Request
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.engine import LocalEngine
from tests.engines.helpers.kernels import WITHOUT, kernels_for
from tests.engines.helpers.orders import Expected, Orders, reply, requests
from tests.soak.outcome import Outcome

PROMISE = (
    "In whatever order an engine is called, closed, interrupted and out of memory, each text is that of a fresh one."
)

ORDERS, STEPS, REQUESTS = 50, 30, 36
"""At scale 1: orders of each kind, calls in one, and different requests."""

KINDS = {
    "own kernels": ("", {}, False),
    "eight bits": ("", {"quantize": "int8"}, False),
    "rounds of a GPU on the CPU": (WITHOUT, {}, True),
}
"""Ending for kernels_for, fields of EngineSpec, and whether the rounds of a GPU are attached."""


def trial(scale: float) -> Outcome:
    """Run orders of all kinds; a failure is an order with a wrong text, an exception, or memory that is not freed."""
    torch.set_num_threads(1)
    asked = requests(max(9, round(REQUESTS * min(1, scale))))
    failures: list[str] = []
    tried = texts = 0
    for name, (ending, spec, rounds) in KINDS.items():
        with kernels_for(name + ending):
            expected = {request: reply(_opened(spec, rounds), request) for request in asked}
            for seed in range(max(1, round(ORDERS * scale))):
                tried += 1
                failure, compared = _ran(asked, expected, seed, spec, rounds)
                texts += compared
                failures += [f"{name}, seed {seed}: {failure}"] if failure else []
    return Outcome(tried, failures, f"{texts} texts compared.")


_engines: dict[tuple[str, bool], list[LocalEngine]] = {}


def _ran(asked: list[Request], expected: Expected, seed: int, spec: dict[str, str], rounds: bool) -> tuple[str, int]:
    """What failed first in one order, "" if nothing did, and how many texts were compared."""
    key = str(spec), rounds
    if key not in _engines:  # they live on from order to order, the second without a drafter
        _engines[key] = [_opened(spec, rounds), _opened({**spec, "assistant": "off"}, rounds)]
    orders = Orders(_engines[key], asked, expected, seed)
    try:
        orders.run(STEPS)
    except Exception as error:
        del _engines[key]
        return "\n".join([*orders.log[-12:], f"raised {error!r}"]), orders.texts
    return (orders.failures or [""])[0], orders.texts


def _opened(spec: dict[str, str], rounds: bool) -> LocalEngine:
    engine = open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32", **spec))  # type: ignore[arg-type]
    assert isinstance(engine, LocalEngine)
    if rounds:
        engine.rounds = RoundState(engine.target, engine.drafter, engine.generation.suppress)
    return engine
