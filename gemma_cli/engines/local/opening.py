"""Opening a checkpoint, or a synthetic model, as an engine on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from gemma_cli.core.engine import EngineInfo, EngineSpec
from gemma_cli.core.errors import OutOfMemory, UsageError
from gemma_cli.engines.local import kernel_table, native
from gemma_cli.engines.local.device import LARGE, is_out_of_memory, weight_bytes
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.kernel_table import KernelFailure
from gemma_cli.engines.local.loading import load
from gemma_cli.engines.local.loading.generation_config import GenerationConfig, read_generation_config
from gemma_cli.engines.local.loading.memory.estimate import Plan
from gemma_cli.engines.local.loading.memory.fit import find
from gemma_cli.engines.local.loading.memory.placement import Placement
from gemma_cli.engines.local.loading.memory.planning import planned
from gemma_cli.engines.local.loading.overflow import refuse_overflow
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.text.tokenizer import load_tokenizer
from gemma_cli.engines.local.threads import set_threads

if TYPE_CHECKING:
    from gemma_cli.store.models.checkpoints import Resolved


def open_local(spec: EngineSpec) -> LocalEngine:
    """Load what `spec` names. Raises UsageError for what does not exist, ModelError for what cannot be run.

    Where a kernel for GPUs fails while the model is loaded and warmed up, it is loaded again with torch's.
    """
    try:
        return _open(spec)
    except KernelFailure as failure:
        kernel_table.give_up(load.choose_device(spec.device), failure)
    return _open(spec)


def _open(spec: EngineSpec) -> LocalEngine:
    from gemma_cli.store.journal import fingerprint
    from gemma_cli.store.models.checkpoints import locate, resolve
    from gemma_cli.store.models.releases import DRAFTER, POCKET

    began = perf_counter()
    resolved = resolve(spec.model, spec.assistant)
    if spec.synthetic_acceptance is not None and resolved.folder:
        raise UsageError(
            "--synthetic-acceptance applies only to synthetic: models, "
            f"not to {resolved.name}: leave out --synthetic-acceptance"
        )
    set_threads()
    device = load.choose_device(spec.device)
    # A synthetic model uses pocket's vocabulary: its texts mean nothing, only its speed does.
    folder = resolved.folder or locate(POCKET)[1]
    dtype = load.choose_dtype(spec.dtype, device, weight_bytes(folder) if resolved.folder else LARGE)
    with _fitting(resolved.name, device):
        plan = planned(resolved, spec, device, dtype)
        where = find(resolved.name, plan)
        # Before the weights: what reading it takes for a moment is free again when they come.
        tokenizer = load_tokenizer(folder, plan.target.vocab)
        target, drafter, saved = _load(resolved, spec, plan, where)
        refuse_overflow(target)
    towers = MediaEncoders(folder, load.read_config(folder) if resolved.folder else None, target.device, dtype)
    ends = GenerationConfig(frozenset(), ())
    if resolved.folder:
        ends = read_generation_config(folder, tokenizer, target.vocab_size)
    info = EngineInfo(
        model=resolved.name,
        assistant=resolved.assistant_name or (f"{resolved.name}{DRAFTER}" if drafter else None),
        device=" + ".join(map(str, target.devices)),
        dtype=str(dtype).removeprefix("torch."),
        quantize=spec.quantize,
        fingerprint=fingerprint(resolved.folder),
        kernels=kernel_table.build_name(target.device),
        image_budget=towers.image_budget,
        context=target.context,
        modalities=towers.modalities,
        load_s=perf_counter() - began,
        exact=target.rows.exact,
        logprobs=True,
        notice="; ".join(filter(None, (resolved.notice, kernel_table.notice(target.device), saved))) or None,
        synthetic_acceptance=spec.synthetic_acceptance,
    )
    engine = LocalEngine(target, drafter, tokenizer, towers, ends, info)
    with _fitting(resolved.name, device):
        failure = engine.warm_up()
    if failure:
        notice = f"{device} cannot record CUDA graphs ({failure}), so replies are slower but have the same text"
        engine.info = replace(info, notice=info.notice or notice)
    return engine


@contextmanager
def _fitting(name: str, device: torch.device) -> Iterator[None]:
    """Raise OutOfMemory where there is no memory to load a model."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{device} has too little memory for {name}: choose a smaller --model") from None


def _load(
    resolved: Resolved, spec: EngineSpec, plan: Plan, where: Placement
) -> tuple[Target, Drafter | None, str | None]:
    """Load the target and its drafter; return them and a notice about quantized weights on the disk."""
    dtype = plan.dtype
    if resolved.folder is None:
        from gemma_cli.engines.local.loading.synthetic import open_synthetic

        alias = resolved.name.partition(":")[2]
        target, drafter = open_synthetic(alias, where.device, dtype, spec.quantize, where.layers)
        return target, drafter if plan.drafter else None, None
    packed, notice = None, None
    if spec.quantize and native.on(where.device):
        from gemma_cli.engines.local.loading.packed.saving import Wanted, packed_weights

        found = packed_weights(Wanted(resolved.name, resolved.folder, spec.quantize, dtype, spec.keep_quantized))
        packed, notice = found.weights, found.notice
    target = load.load_target(resolved.folder, where.device, dtype, spec.quantize, where.layers, packed)
    if resolved.assistant_folder is None:
        return target, None, notice
    return target, load.load_drafter(resolved.assistant_folder, target, spec.quantize), notice
