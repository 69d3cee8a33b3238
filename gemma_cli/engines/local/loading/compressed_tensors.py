"""Weights that a checkpoint stores in four bits, as compressed-tensors packs them ("pack-quantized"): Google's w4a16.

In place of `X.weight` [out, in] such a checkpoint holds

    X.weight_packed  int32 [out, in / 8]       eight numbers a word, the first in the lowest four bits, each + 8
    X.weight_scale   bfloat16 [out, in / group]
    X.weight_shape   int64 [2]                 out, in

and stands for (number - 8) * scale. What is not listed that way, such as embeddings and towers, is stored as ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.model.schema.config_schema import QUANTIZATION
from gemma_cli.engines.local.model.schema.json_fields import FieldError

PACKED, SCALE, SHAPE = "_packed", "_scale", "_shape"
"""Suffixes of "X.weight" in the names of the three tensors."""

GROUPS = (32, 64, 128, 256)
"""Inputs that may share a scale, as far as torch's kernels go."""

_WORD = 8


def check_quantization(path: Path, described: Any) -> None:
    """Raise ModelError for the quantization_config of a config.json (None: there is none) that is not of the form
    described above."""
    if described is None:
        return
    try:
        QUANTIZATION.check(described, "quantization_config")
    except FieldError as error:
        raise ModelError(
            f"{path}: {error}; gemma reads only symmetric 4-bit weights "
            "in groups, so use the bfloat16 checkpoint with --quantize"
        ) from None


def numbers(packed: Tensor, width: int) -> Tensor:
    """uint8 0 .. 15 [out, width] from int32 [out, width / 8]."""
    out = torch.empty(packed.shape[0], packed.shape[1] * _WORD, dtype=torch.uint8, device=packed.device)
    for place in range(_WORD):
        out[:, place::_WORD] = packed.bitwise_right_shift(4 * place).bitwise_and_(15)
    return out[:, :width].contiguous()


def words(width: int) -> int:
    """int32 words that `width` numbers take."""
    return -(-width // _WORD)
