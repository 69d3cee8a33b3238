"""From a checkpoint folder to something that runs.

    load_target(folder, device, dtype) -> Target;  load_drafter(folder, target) -> Drafter
    read_config(folder) -> Config                                 see config.py
    choose_device(name);  choose_dtype(name, device, size)        see device.py

Only JSON and safetensors are read: no pickles, no code from a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import InputError, ModelError
from gemma_cli.engines.local.allocator import freed_at_once
from gemma_cli.engines.local.device import choose_device, choose_dtype
from gemma_cli.engines.local.loading.build import build_drafter, build_target
from gemma_cli.engines.local.loading.checkpoint import Checkpoint, PackedWeights, decoder_prefix
from gemma_cli.engines.local.loading.config import read_config
from gemma_cli.engines.local.loading.saved_rules import row_rule
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.layers.quantized import of_drafter
from gemma_cli.engines.local.model.schema.architecture import Architecture
from gemma_cli.engines.local.model.target import Target

__all__ = ["choose_device", "choose_dtype", "load_drafter", "load_target", "read_config"]


@freed_at_once()
def load_target(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    quantize: Quantization | None = None,
    lies: Sequence[torch.device] = (),
    packed: PackedWeights | None = None,
) -> Target:
    """Read a target's text decoder onto `device` in `dtype`, its products with weights in fewer bits where `quantize`
    says so. lies: the device of each layer, where there are several (placement.Placement.layers). packed: see
    Checkpoint. ModelError names the file and the tensor at fault; UsageError: the device cannot run that."""
    config = read_config(folder)
    if not config.is_target:
        raise InputError(
            f"{folder}: this checkpoint is a drafter ({config.model_type}); give the model of the drafter with --model"
        )
    source = Checkpoint(folder, device, dtype, quantize)
    source.prefix, source.packed = decoder_prefix(source), packed
    target = build_target(config.decoder(), source, device, dtype, lies)
    _check_all_used(source, target.arch)
    target.set_rows(row_rule(target))
    return target


@freed_at_once()
def load_drafter(folder: Path, target: Target, quantize: Quantization | None = None) -> Drafter:
    """Read the drafter of `target` onto the same device in the same dtype. InputError where they do not belong
    together."""
    config = read_config(folder)
    if config.is_target:
        raise InputError(
            f"{folder}: this checkpoint is not a drafter (model_type "
            f"{config.model_type}); give a drafter with --assistant"
        )
    source = Checkpoint(folder, target.device, target.dtype, of_drafter(quantize))
    drafter = build_drafter(config.drafter(), source, target)
    _check_all_used(source, drafter.arch)
    return drafter


def _check_all_used(source: Checkpoint, arch: Architecture) -> None:
    """ModelError for a decoder tensor that no part of the model took: config and weights disagree.

    Layers that share keys and values may still carry projections for them, which the reference ignores too; a tied
    head may be stored twice.
    """
    for name in source.untaken(source.prefix):
        layer = re.search(r"layers\.(\d+)\.self_attn\.[kv]_(proj|norm)\.", name)
        shared = layer is not None and int(layer[1]) >= arch.own_layers
        if not shared and name != "lm_head.weight":
            raise ModelError(
                f"{source.folder}: config.json does not describe the tensor {name}; download the checkpoint again"
            )
