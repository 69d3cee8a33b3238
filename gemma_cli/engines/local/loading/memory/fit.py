"""Whether a model fits before it is loaded, where, and what would.

find(name, plan) -> Placement    OutOfMemory, naming the smallest change that fits
free(device) -> int              bytes
places(device)                   the devices that its name stands for, and the bytes free on each
fitting(device)                  which released models would fit now

"auto" and "cuda" mean the first GPU where that holds the model, else another that does, else several together;
"cuda:1" means that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import torch

from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import OutOfMemory, UsageError
from gemma_cli.engines.local.device import bfloat16_on_cpu, bfloat16_on_gpu
from gemma_cli.engines.local.loading.memory.estimate import Needs, Plan, needs, plan_release
from gemma_cli.engines.local.loading.memory.placement import Placement, place
from gemma_cli.engines.local.loading.memory.working import ROOM
from gemma_cli.engines.local.loading.synthetic import NAMES
from gemma_cli.store.models import machine
from gemma_cli.store.models.checkpoints import SYNTHETIC
from gemma_cli.store.models.hub import is_here
from gemma_cli.store.models.releases import RELEASES, gigabytes

QUANTIZATIONS: tuple[Quantization | None, ...] = (None, "int4")
"""Forms in which another model is suggested: as stored, or as small as possible."""


def find(name: str, plan: Plan) -> Placement:
    """Where `plan` fits. OutOfMemory where it needs more than is free on its device, or on all GPUs together if it
    names none of them. Nothing is read for it."""
    wanted = needs(plan)
    if found := _found(plan, wanted):
        return found
    there = places(plan.device)
    working = wanted.working + (len(there) - 1) * wanted.costs.working
    total = wanted.weights + wanted.keys + working
    remedies = (change for change, other in chain(_changes(plan), _smaller(name, plan)) if _fits(other))
    free_there = " + ".join(map(gigabytes, there.values()))
    raise OutOfMemory(
        f"{name} needs {gigabytes(total)} on {' + '.join(map(str, there))}, but only {free_there} is free (weights "
        f"{gigabytes(wanted.weights)}, keys and values of {min(ROOM, plan.target.context)} tokens "
        f"{gigabytes(wanted.keys)}, working space {gigabytes(working)}): "
        f"use {next(remedies, '--model pocket')}"
    )


def _found(plan: Plan, wanted: Needs) -> Placement | None:
    if wanted.total - wanted.process <= free(plan.device):
        return Placement(plan.device)
    # Only now: querying a GPU's free memory uses some of it.
    return place(wanted.costs, places(plan.device)) if _any_gpu(plan.device) else None


def free(device: torch.device) -> int:
    """Bytes that can still be had on a device; what this process has put aside there counts."""
    if device.type == "cuda":
        available: int = torch.cuda.mem_get_info(device)[0]
        return available + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return machine.available()


def places(device: torch.device) -> dict[torch.device, int]:
    """Return the devices that `device` stands for, and the bytes free on each: "cuda" is every GPU that responds."""
    if not _any_gpu(device):
        return {device: free(device)}
    from accelerate.utils import get_max_memory

    there = [torch.device("cuda", index) for index in get_max_memory() if isinstance(index, int)]
    return {device: free(device) for device in there}


def _any_gpu(device: torch.device) -> bool:
    """Return whether a device is "cuda" on a machine with several GPUs."""
    return device.type == "cuda" and device.index is None and torch.cuda.device_count() > 1


def fitting(device: torch.device) -> list[str]:
    """The released models that would fit now, each with what it takes: "e2b", "12b --quantize int4"."""
    dtype = _short(device)
    found = []
    for alias in NAMES:
        ways = (
            (alias, plan_release(alias, device, dtype)),
            (f"{alias} --quantize int8", plan_release(alias, device, dtype, "int8")),
            (f"{alias} --quantize int4", plan_release(alias, device, dtype, "int4")),
        )
        found += [way for way, plan in ways if _fits(plan)][:1]
    return found


def _changes(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Yield smaller plans for the same model, the least change first."""
    every = torch.device(plan.device.type)
    if plan.device != every and _any_gpu(every):
        yield f"--device {every}", replace(plan, device=every)
    if plan.dtype == torch.float32 and (short := _short(plan.device)) != torch.float32:
        yield f"--dtype {str(short).removeprefix('torch.')}", replace(plan, dtype=short)
    if plan.drafter:
        yield "--assistant off", replace(plan, drafter=None)
    if plan.quantize is None:
        yield "--quantize int8", replace(plan, quantize="int8")
    if plan.quantize != "int4":
        yield "--quantize int4", replace(plan, quantize="int4")
    if plan.device.type != "cpu":
        yield "--device cpu", replace(plan, device=torch.device("cpu"))


def _smaller(name: str, plan: Plan) -> Iterator[tuple[str, Plan]]:
    """The released models as they would be run here, the ablest first: those on this machine, then the others with what
    fetching them takes. In place of a synthetic model, another one."""
    dtype = _short(plan.device)
    synthetic = name.startswith(SYNTHETIC)
    absent = {} if synthetic else {release.alias: release for release in RELEASES if not is_here(release)}
    for alias in (*(alias for alias in reversed(NAMES) if alias not in absent), *reversed(absent)):
        model = f"--model {SYNTHETIC if synthetic else ''}{alias}"
        release = absent.get(alias)
        pull = f" (gemma models pull {alias} downloads {gigabytes(release.download)})" if release else ""
        for quantize in QUANTIZATIONS:
            form = f" --quantize {quantize}" if quantize else ""
            other = replace(plan_release(alias, plan.device, dtype, quantize), mapped=plan.mapped)
            yield f"{model}{form}{pull}", other


def _fits(plan: Plan) -> bool:
    try:
        return _found(plan, needs(plan)) is not None
    except UsageError:  # the device does not run it
        return False


def _short(device: torch.device) -> torch.dtype:
    """Return the shortest number format that runs on a device."""
    if device.type == "cpu":
        return torch.float32 if bfloat16_on_cpu() == "crashes" else torch.bfloat16
    return torch.bfloat16 if bfloat16_on_gpu(device) else torch.float16
