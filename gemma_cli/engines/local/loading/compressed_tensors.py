"""Weights that a checkpoint stores in four bits, as compressed-tensors packs them ("pack-quantized"): Google's w4a16.

In place of `X.weight` [out, in] such a checkpoint holds

    X.weight_packed  int32 [out, in / 8]       eight numbers a word, the first in the lowest four bits, each + 8
    X.weight_scale   bfloat16 [out, in / group]
    X.weight_shape   int64 [2]                 out, in

and stands for (number - 8) * scale. What is not listed that way, such as embeddings and towers, is stored as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gemma_cli.core.errors import ModelError

PACKED, SCALE, SHAPE = "_packed", "_scale", "_shape"
"""What follows "X.weight" in the names of the three."""

GROUPS = (32, 64, 128, 256)
"""Inputs that may share a scale, as far as torch's kernels go."""

_WORD = 8


def check_quantization(folder: Path, described: Mapping[str, Any] | None) -> None:
    """ModelError for a quantization_config (None: there is none) that is not of the form described above."""
    if described is None:
        return
    method = described.get("quant_method", "unknown")
    if method == "compressed-tensors" and described.get("format") == "pack-quantized":
        groups = described.get("config_groups")
        if isinstance(groups, Mapping) and groups and all(_four_bits(group) for group in groups.values()):
            return
        method = "compressed-tensors, but not symmetric 4-bit weights in groups of 32 to 256"
    raise ModelError(
        f"{folder} is quantized ({method}), which is not supported; use the bfloat16 checkpoint with --quantize"
    )


def _four_bits(group: Any) -> bool:
    """Whether a group of config_groups has weights of that form and plain activations."""
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping) or group.get("input_activations") or group.get("output_activations"):
        return False
    wanted = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group"}
    if any(weights.get(key) != value for key, value in wanted.items()):
        return False
    return weights.get("group_size") in GROUPS and weights.get("actorder") in (None, "weight", "static")


def numbers(packed: Tensor, width: int) -> Tensor:
    """uint8 0 .. 15 [out, width] from int32 [out, width / 8]."""
    out = torch.empty(packed.shape[0], packed.shape[1] * _WORD, dtype=torch.uint8, device=packed.device)
    for place in range(_WORD):
        out[:, place::_WORD] = packed.bitwise_right_shift(4 * place).bitwise_and_(15)
    return out[:, :width].contiguous()


def words(width: int) -> int:
    """int32 words that `width` numbers take."""
    return -(-width // _WORD)
