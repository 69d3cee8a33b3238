"""torch's kernels for linear layers with weights in 8 bits, where there are none of ours.

torch's own int8 matmul for CPUs (aten::_weight_int8pack_mm) computes in floating point: from five rows on it is slower
than bfloat16, and in float32 it is not vectorised. oneDNN multiplies bytes at full speed for any number of rows. So
each row of activations becomes 16-bit integers, 256 * high + low, and both halves go through the matmul as rows of
their own. Only activations below a hundredth of their row's largest lose more than in bfloat16. Sums of integers do not
depend on their order, so a row's bits do not depend on other rows.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch
from torch import Tensor

from gemma_cli.engines.local.device import CAP, bfloat16_on_cpu

LinearFunction = Callable[[Tensor], Tensor]

STEPS = 32639
"""The largest 16-bit activation, 127 * 256 + 127: both of its halves are signed bytes."""


def in_halves(numbers: Tensor, scale: Tensor) -> LinearFunction:
    """Return oneDNN's integer matmul with these weights; see the module's docstring."""
    packed = torch.ops.onednn.qlinear_prepack(numbers, None)
    none = torch.zeros(scale.shape[0], dtype=torch.int32)

    def product(x: Tensor) -> Tensor:
        high, low, step = halves(x)
        # Bytes from 0 to 255, whose zero is 128: what oneDNN multiplies signed bytes with.
        both = torch.cat((high, low)).add_(128).to(torch.uint8)
        sums = torch.ops.onednn.qlinear_pointwise(
            both, 1.0, 128, packed, scale, none, None, 1.0, 0, torch.float32, "none", [], "none"
        )
        rows = x.shape[0]
        return torch.add(sums[rows:], sums[:rows], alpha=256).mul_(step).to(x.dtype)

    return product


def packed_int8(numbers: Tensor, scale: Tensor) -> LinearFunction:
    """Return torch's own int8 matmul with these weights, in bfloat16."""
    kept = scale.to(torch.bfloat16)

    def product(x: Tensor) -> Tensor:
        result: Tensor = torch.ops.aten._weight_int8pack_mm(x.to(torch.bfloat16).contiguous(), numbers, kept)
        return result.to(x.dtype)

    return product


def halves(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write x [rows, in] as (256 * high + low) * step: whole numbers from -128 to 127, and float32 [rows, 1]."""
    wide = x.float()
    step = torch.linalg.vector_norm(wide, float("inf"), -1, keepdim=True).div_(STEPS).clamp_min_(1e-30)
    whole = wide.div(step).round_()
    high = whole.mul(1 / 256).add_(0.5).floor_()
    return high, torch.sub(whole, high, alpha=256), step


@functools.cache
def integer_products() -> bool:
    """Return whether oneDNN's integer matmul is exact here.

    Before AVX-512 VNNI, sums of two products may overflow. Where bfloat16 crashes (device.py), it would crash too.
    """
    verdict = bfloat16_on_cpu()
    if verdict == "crashes":
        return False
    if verdict == "works capped":
        os.environ.setdefault(*CAP)
    numbers = torch.full((64, 64), 127, dtype=torch.int8)
    numbers[1::2] = -127
    x = torch.full((3, 64), 1.0)
    try:
        product = in_halves(numbers, torch.ones(64))(x)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(product, torch.full((3, 64), 64 * 127.0).mul_(numbers[:, 0].sign()), rtol=1e-4)
