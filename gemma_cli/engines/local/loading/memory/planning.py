"""Description of a model's memory and placement, before anything of it is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.engines.local.device import LARGE, choose_device, choose_dtype, weight_bytes
from gemma_cli.engines.local.loading.memory.estimate import Plan, needs, plan_folder, plan_release
from gemma_cli.engines.local.loading.memory.fit import find
from gemma_cli.store.models.checkpoints import OFF, resolve
from gemma_cli.store.models.releases import gigabytes

if TYPE_CHECKING:
    from gemma_cli.store.models.checkpoints import Resolved


def planned(resolved: Resolved, spec: EngineSpec, device: torch.device, dtype: torch.dtype) -> Plan:
    """The plan for a model that was resolved from `spec`. Raises what reading its configuration raises."""
    if resolved.folder:
        return plan_folder(resolved.folder, resolved.assistant_folder, device, dtype, spec.quantize)
    plan = plan_release(resolved.name.partition(":")[2], device, dtype, spec.quantize)
    return replace(plan, drafter=None if spec.assistant == OFF else plan.drafter, mapped=False, tokenizer=0)


def foretell(spec: EngineSpec) -> str:
    """A line about the model that `spec` names: where it runs, in which format, what it takes, what it drafts with.

    Raises what opening it would raise before it reads a weight.
    """
    resolved = resolve(spec.model, spec.assistant)
    device = choose_device(spec.device)
    dtype = choose_dtype(spec.dtype, device, weight_bytes(resolved.folder) if resolved.folder else LARGE)
    plan = planned(resolved, spec, device, dtype)
    find(resolved.name, plan)
    form = str(dtype).removeprefix("torch.") + (f" with weights in {spec.quantize}" if spec.quantize else "")
    drafter = "with its drafter" if plan.drafter else "without a drafter"
    return f"{resolved.name} {drafter}, {form} on {device}, needs {gigabytes(needs(plan).total)}"
