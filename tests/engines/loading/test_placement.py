"""Which layers lie on which GPU: a plan from made-up sizes, and refusals that count every GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.commands.doctor_parts.device import device_checks
from gemma_cli.core.errors import OutOfMemory
from gemma_cli.engines.local.loading.memory import fit as memory_fit
from gemma_cli.engines.local.loading.memory.estimate import needs, plan_release
from gemma_cli.engines.local.loading.memory.placement import Costs, Placement, place
from gemma_cli.engines.local.loading.synthetic import NAMES
from gemma_cli.engines.local.model.layers import quantized

GPUS = [torch.device("cuda", index) for index in range(4)]
CUDA = torch.device("cuda")
GB = 10**9

sizes = st.integers(0, 40)


@st.composite
def models(draw: st.DrawFn) -> Costs:
    layers = tuple(draw(st.lists(sizes, min_size=1, max_size=7)))
    tail = draw(st.integers(0, len(layers) - 1))
    return Costs(draw(sizes), layers, draw(sizes), tail, draw(st.integers(0, 9)), draw(st.integers(0, 9)))


def machines(least: int = 1) -> st.SearchStrategy[dict[torch.device, int]]:
    return st.lists(st.integers(1, 200), min_size=least, max_size=4).map(
        lambda free: dict(zip(GPUS, free, strict=False))
    )


def loads(costs: Costs, found: Placement) -> dict[torch.device, int]:
    """Bytes that a placement takes on each device."""
    lies = found.layers or [found.device] * len(costs.layers)
    taken = {device: costs.last_working if device == found.device else costs.working for device in lies}
    for device, size in zip(lies, costs.layers, strict=True):
        taken[device] += size
    taken[lies[0]] += costs.first
    taken[lies[-1]] += costs.last
    return taken


@given(models(), machines())
def test_every_layer_lies_once_in_order_and_nothing_is_overfilled(costs: Costs, free: dict[torch.device, int]) -> None:
    found = place(costs, free)
    if found is None:
        return
    lies = found.layers or (found.device,) * len(costs.layers)
    assert len(lies) == len(costs.layers)
    runs = [device for index, device in enumerate(lies) if index == 0 or lies[index - 1] != device]
    assert len(runs) == len(set(runs)), "a device is left once and not come back to"
    assert set(lies[costs.tail :]) == {found.device}, "layers that share keys, head and drafter lie together"
    assert all(taken <= free[device] for device, taken in loads(costs, found).items())


@given(models(), machines())
def test_what_is_refused_fits_in_no_order(costs: Costs, free: dict[torch.device, int]) -> None:
    """All ways to cut the layers into runs, over the GPUs in their order with any of them last."""
    count = len(costs.layers)
    ways = []
    for last in free:
        others = [device for device in free if device != last]
        for some in (part for size in range(len(others) + 1) for part in combinations(others, size)):
            for cuts in combinations(range(1, costs.tail + 1), len(some)):
                ends = (0, *cuts, count)
                lies = [
                    device
                    for device, first, stop in zip((*some, last), ends[:-1], ends[1:], strict=True)
                    for _ in range(first, stop)
                ]
                ways.append(Placement(last, tuple(lies)))
    fits = any(all(size <= free[on] for on, size in loads(costs, way).items()) for way in ways)
    assert (place(costs, free) is not None) == fits


@given(models(), machines(2))
def test_no_more_devices_than_it_takes(costs: Costs, free: dict[torch.device, int]) -> None:
    found = place(costs, free)
    if found is not None and found.layers:
        assert len(set(found.layers)) > 1
        assert place(costs, {device: max(free.values()) for device in GPUS[:1]}) is None


def test_equal_gpus_are_filled_alike() -> None:
    costs = Costs(0, (10,) * 12, 10, 10, 1, 1)
    found = place(costs, dict.fromkeys(GPUS[:2], 100))
    assert found is not None
    assert found.device == GPUS[0], "where torch's own default is no worse, the head lies there"
    assert sorted(loads(costs, found).values()) == [61, 71]


@pytest.mark.parametrize("alias", NAMES)
def test_parts_sum_to_the_whole(alias: str) -> None:
    plan = plan_release(alias, CUDA, torch.bfloat16)
    wanted = needs(plan)
    costs = wanted.costs
    assert costs.first + sum(costs.layers) + costs.last == wanted.weights + wanted.keys
    shared = [layer.source for layer in plan.target.layers if not layer.owns_kv]
    assert costs.tail <= min([*shared, plan.target.last_own_sliding, plan.target.last_own_full])
    assert (costs.first > 2 * GB) == (alias in ("e2b", "e4b"))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A machine with GPUs of which so many GB are free."""
    import accelerate.utils

    def rigged(*sizes: float) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(sizes))
        monkeypatch.setattr(accelerate.utils, "get_max_memory", lambda: {**dict(enumerate(sizes)), "cpu": 1})
        monkeypatch.setattr(
            memory_fit, "free", lambda device: round(sizes[device.index or 0] * GB) if device.type == "cuda" else 8 * GB
        )

    monkeypatch.setattr(quantized, "int4_runs", lambda _: True)
    monkeypatch.setattr(memory_fit, "bfloat16_on_cpu", lambda: "works")
    return rigged


def test_one_gpu_that_holds_it_is_enough(rig: Any) -> None:
    plan = plan_release("e2b", CUDA, torch.bfloat16)
    rig(24, 24)
    assert memory_fit.find("e2b", plan) == Placement(CUDA)
    rig(2, 24)
    assert memory_fit.find("e2b", plan) == Placement(GPUS[1])


def test_two_gpus_hold_what_one_does_not(rig: Any) -> None:
    rig(24, 24)
    for alias, quantize in (("12b", None), ("26b-a4b", "int8"), ("31b", "int8")):
        plan = plan_release(alias, CUDA, torch.bfloat16, quantize)  # type: ignore[arg-type]
        found = memory_fit.find(alias, plan)
        assert set(found.layers) == set(GPUS[:2])
        assert max(loads(needs(plan).costs, found).values()) < 24 * GB


def test_a_gpu_that_is_named_is_the_only_one(rig: Any) -> None:
    rig(24, 24)
    plan = plan_release("31b", GPUS[1], torch.bfloat16, "int8")
    with pytest.raises(OutOfMemory, match=r"on cuda:1, but only 24 GB is free .*: use --device cuda$"):
        memory_fit.find("31b", plan)


def test_what_is_named_counts_every_gpu(rig: Any) -> None:
    rig(24, 24)
    plan = plan_release("31b", CUDA, torch.bfloat16)
    with pytest.raises(OutOfMemory) as caught:
        memory_fit.find("31b", plan)
    assert "on cuda:0 + cuda:1, but only 24 GB + 24 GB is free (" in str(caught.value)
    assert str(caught.value).endswith(": use --quantize int8")
    rig(24, 24, 24)
    assert len(set(memory_fit.find("31b", replace(plan, drafter=None)).layers)) == 3
    rig(20, 20)
    assert len(set(memory_fit.find("31b", replace(plan, quantize="int4")).layers)) == 2


def test_doctor_tells_every_gpu(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(20, 22)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    properties = SimpleNamespace(major=9, minor=0, name="RTX", total_memory=24 * GB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    found = {check.name: check.found for check in device_checks()}
    assert found["device"] == "cuda; a model that is too large for one GPU is split across all GPUs"
    assert found["cuda:0"] == "RTX, 24 GB, 20 GB free"
    assert found["cuda:1"] == "RTX, 24 GB, 22 GB free"
    assert "12b (24 GB to fetch)" in found["would fit"].split(", ")
