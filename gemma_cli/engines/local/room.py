"""Whether a model fits before it is loaded, and what would.

check(name, plan)            OutOfMemory, naming the smallest change that fits
free(device) -> int          bytes
fitting(device)              which released models would fit now
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import torch

from gemma_cli.engines.local.device import bfloat16_on_cpu
from gemma_cli.engines.local.needs import ROOM, Plan, needs, plan_release
from gemma_cli.engines.local.synthetic import NAMES
from gemma_cli.errors import OutOfMemory, UsageError
from gemma_cli.store import machine
from gemma_cli.store.releases import gigabytes


def check(name: str, plan: Plan) -> None:
    """OutOfMemory where loading `plan` needs more than is free on its device. Nothing is read for it."""
    there, wanted = free(plan.device), needs(plan)
    if wanted.total <= there:
        return
    remedies = (change for change, other in chain(_changes(plan), _smaller(plan)) if _fits(other))
    raise OutOfMemory(
        f"{name} needs {gigabytes(wanted.total)} on {plan.device} (weights {gigabytes(wanted.weights)}, keys and "
        f"values of {min(ROOM, plan.target.context)} tokens {gigabytes(wanted.keys)}) and {gigabytes(there)} is free: "
        f"use {next(remedies, '--model pocket')}"
    )


def free(device: torch.device) -> int:
    """Bytes that can still be had on a device; what this process has put aside there counts."""
    if device.type == "cuda":
        available: int = torch.cuda.mem_get_info(device)[0]
        return available + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return machine.available()


def fitting(device: torch.device) -> list[str]:
    """The released models that would fit now, each with what it takes: "e2b", "12b --quantize int4"."""
    dtype = torch.bfloat16 if _bfloat16(device) else torch.float32
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
    """What could be given up, the least first; the model stays."""
    if plan.dtype == torch.float32 and _bfloat16(plan.device):
        yield "--dtype bfloat16", replace(plan, dtype=torch.bfloat16)
    if plan.drafter:
        yield "--assistant off", replace(plan, drafter=None)
    if plan.quantize is None:
        yield "--quantize int8", replace(plan, quantize="int8")
    if plan.quantize != "int4":
        yield "--quantize int4", replace(plan, quantize="int4")
    if plan.device.type != "cpu":
        yield "--device cpu", replace(plan, device=torch.device("cpu"))


def _smaller(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """The released models, the ablest first, as they would be run here."""
    dtype = torch.bfloat16 if _bfloat16(plan.device) else torch.float32
    for alias in reversed(NAMES):
        yield f"--model {alias}", plan_release(alias, plan.device, dtype)
        yield f"--model {alias} --quantize int4", plan_release(alias, plan.device, dtype, "int4")


def _fits(plan: Plan) -> bool:
    try:
        wanted = needs(plan).total
    except UsageError:  # the device does not run it
        return False
    return wanted <= free(plan.device)


def _bfloat16(device: torch.device) -> bool:
    return device.type != "cpu" or bfloat16_on_cpu() != "crashes"
