"""What is advised where a model does not fit: what is on this machine, or what fetching it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, combinations

import pytest
import torch

from gemma_cli.core.errors import OutOfMemory, UsageError
from gemma_cli.engines.local.loading.memory import fit as memory_fit
from gemma_cli.engines.local.loading.memory.estimate import Needs, Plan, plan_release
from gemma_cli.engines.local.loading.memory.placement import Costs
from gemma_cli.store.models import machine
from gemma_cli.store.models.releases import RELEASES

CPU = torch.device("cpu")
GB = 10**9
ALIASES = [release.alias for release in RELEASES]


def total(alias: str, quantize: str | None) -> int:
    """Bytes, about; what a model takes to the byte is the matter of test_needs.py."""
    return round(RELEASES[ALIASES.index(alias)].memory * (0.35 if quantize == "int4" else 0.6 if quantize else 1))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """So many GB free on a CPU that runs bfloat16."""
    by_shape = {repr(plan_release(alias, CPU, torch.bfloat16).target): alias for alias in ALIASES}

    def needs(plan: Plan) -> Needs:
        weights = total(by_shape[repr(plan.target)], plan.quantize)
        return Needs(weights, 0, 0, Costs(0, (), 0, 0, 0, 0))

    monkeypatch.setattr(memory_fit, "needs", needs)
    monkeypatch.setattr(memory_fit, "bfloat16_on_cpu", lambda: "works")
    return lambda size: monkeypatch.setattr(machine, "available", lambda: round(size * GB))


def advice(name: str, plan: Plan) -> str:
    with pytest.raises(OutOfMemory) as caught:
        memory_fit.find(name, plan)
    assert "\n" not in str(caught.value)
    return str(caught.value).partition(": use ")[2]


@pytest.mark.parametrize("size", [1, 5, 7, 12, 18, 21, 24])
def test_only_what_is_here_is_advised_or_what_fetching_it_takes(
    free: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    free(size)
    plan = plan_release("31b", CPU, torch.bfloat16, "int4")
    for here in chain.from_iterable(combinations(("e2b", "e4b", "12b"), count) for count in range(4)):
        monkeypatch.setattr(memory_fit, "is_here", lambda release, here=here: release.alias in here)
        fits = {alias: [q for q in (None, "int4") if total(alias, q) <= size * GB] for alias in reversed(ALIASES)}
        able = [alias for alias, ways in fits.items() if ways]
        best = next((alias for alias in able if alias in here), next(iter(able), None))
        if best is None:
            assert advice("31b", plan) == "--model pocket"
            continue
        release = RELEASES[ALIASES.index(best)]
        fetch = f" (gemma models pull {best} downloads {release.download / GB:.3g} GB)" if best not in here else ""
        quantize = "" if None in fits[best] else " --quantize int4"
        assert advice("31b", plan) == f"--model {best}{quantize}{fetch}"


@pytest.mark.parametrize(
    ("size", "other"),
    [(21, "26b-a4b --quantize int4"), (19, "12b --quantize int4"), (5, "e2b --quantize int4"), (1, None)],
)
def test_in_place_of_a_synthetic_model_another_is_advised(
    free: Callable[[float], None], size: float, other: str | None
) -> None:
    """It is made, not fetched, and tells of speed as the one asked for would."""
    free(size)
    plan = replace(plan_release("31b", CPU, torch.bfloat16, "int4"), mapped=False)
    assert advice("synthetic:31b", plan) == (f"--model synthetic:{other}" if other else "--model pocket")


def test_the_parts_of_what_is_needed_add_up(monkeypatch: pytest.MonkeyPatch, torch_only: None) -> None:
    monkeypatch.setattr(machine, "available", lambda: GB // 2)
    monkeypatch.setattr(memory_fit, "_smaller", lambda name, plan: iter(()))  # each is worked out, which takes its time
    with pytest.raises(OutOfMemory) as caught:
        memory_fit.find("e2b", plan_release("e2b", CPU, torch.bfloat16))
    needed, _, *parts = (float(number) for number in re.findall(r"([\d.]+) GB", str(caught.value))[:5])
    assert needed == pytest.approx(sum(parts), rel=0.01)


def test_a_synthetic_model_of_no_known_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown synthetic model '7b'; choose one of e2b"):
        plan_release("7b", CPU, torch.bfloat16)
