"""From a checkpoint folder to something that runs.

    load_target(folder, device, dtype) -> Target;  load_drafter(folder, target) -> Drafter
    read_config(folder) -> config      the transformers config, whole (towers too); ModelError or InputError in one line
    choose_device(name);  choose_dtype(name, device, folder)      see device.py

Only safetensors and transformers' own config classes are read: no pickles, no code from a checkpoint.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gemma_cli.engines.local.build import build_drafter, build_target
from gemma_cli.engines.local.device import choose_device, choose_dtype
from gemma_cli.engines.local.drafter import Drafter
from gemma_cli.engines.local.model import Target
from gemma_cli.engines.local.rows import measure_rows
from gemma_cli.engines.local.weights import Checkpoint
from gemma_cli.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["choose_device", "choose_dtype", "load_drafter", "load_target", "read_config"]

TARGETS = ("gemma4", "gemma4_unified", "gemma4_text", "gemma4_unified_text")
DRAFTERS = ("gemma4_assistant", "gemma4_unified_assistant")

_DECODER_PREFIXES = ("model.language_model.", "language_model.model.", "model.", "")


def read_config(folder: Path) -> PreTrainedConfig:
    """The config of a Gemma 4 target or drafter. InputError: no such folder, or not a model's. ModelError: a model,
    but not one this engine runs, or with a broken config.json."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    if not path.is_file():
        raise InputError(f"{folder} has no config.json; name a folder that holds a Gemma 4 checkpoint")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch the checkpoint again") from error
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in TARGETS + DRAFTERS:
        raise ModelError(f"{folder} is not a Gemma 4 model: config.json says model_type {kind!r}")
    if "quantization_config" in values:
        method = (values["quantization_config"] or {}).get("quant_method", "unknown")
        raise ModelError(f"{folder} is quantized ({method}), which is not supported; use the bfloat16 checkpoint")
    return _parse(folder, kind, values)


def load_target(folder: Path, device: torch.device, dtype: torch.dtype) -> Target:
    """Read a target's text decoder onto `device` in `dtype`. ModelError names the file and the tensor at fault."""
    config = read_config(folder)
    if config.model_type not in TARGETS:
        raise InputError(f"{folder} is a drafter ({config.model_type}); name the model it drafts for")
    source = Checkpoint(folder, device, dtype)
    source.prefix = _decoder_prefix(source)
    text = config.get_text_config()
    target = build_target(text, source, device, dtype)
    _check_all_used(source, text)
    target.set_rows(measure_rows(target))
    return target


def load_drafter(folder: Path, target: Target) -> Drafter:
    """Read the drafter of `target` onto the same device in the same dtype. InputError where they do not belong
    together."""
    config: Any = read_config(folder)
    if config.model_type not in DRAFTERS:
        raise InputError(f"{folder} is not a drafter (model_type {config.model_type}); name an assistant checkpoint")
    source = Checkpoint(folder, target.device, target.dtype)
    drafter = build_drafter(config, source, target)
    _check_all_used(source, config.get_text_config())
    return drafter


def _parse(folder: Path, kind: str, values: dict[str, Any]) -> PreTrainedConfig:
    from transformers import CONFIG_MAPPING

    try:
        config: PreTrainedConfig = CONFIG_MAPPING[kind].from_dict(values)
        layers = config.get_text_config().num_hidden_layers
    except KeyError as error:
        raise ModelError(f"the installed transformers does not know {kind}; it takes 5.22.2 or newer") from error
    except Exception as error:  # config classes validate with many exception types
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder / 'config.json'} is not a valid {kind} config: {reason}") from error
    if not layers:
        raise ModelError(f"{folder / 'config.json'} describes a model without layers")
    return config


def _decoder_prefix(source: Checkpoint) -> str:
    """What stands before "embed_tokens.weight": a multimodal checkpoint keeps its decoder one level down."""
    names = set(source.names)
    for prefix in _DECODER_PREFIXES:
        if f"{prefix}embed_tokens.weight" in names:
            return prefix
    raise ModelError(f"{source.folder} holds no text decoder: no tensor named embed_tokens.weight")


def _check_all_used(source: Checkpoint, text: Any) -> None:
    """ModelError for a decoder tensor that no part of the model took: config and weights disagree.

    Layers that share keys and values may still carry projections for them, which the reference ignores too; a tied
    head may be stored twice.
    """
    own = text.num_hidden_layers - text.num_kv_shared_layers
    for name in source.untaken(source.prefix):
        layer = re.search(r"layers\.(\d+)\.self_attn\.[kv]_(proj|norm)\.", name)
        shared = layer is not None and int(layer[1]) >= own
        if not shared and name != "lm_head.weight":
            raise ModelError(f"{source.folder}: unexpected tensor {name}; config.json describes another model")
