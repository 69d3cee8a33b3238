"""The gated activation, gelu(gate) * up, with a row's bits independent of the rows beside it.

Torch's CPU kernel for gelu runs whole vectors through one tanh and what is left over through another, and cuts large
tensors between threads at any element: where a row falls decides its last bit. So it is called where no row has
leftovers (rows padded to whole vectors, fewer elements than torch splits), and written out with torch.tanh, which has
one path for all, where the width allows no such call. Which of the two depends on the width, never on the row count.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local import native

VECTORS = 64
"""Elements that torch's widest loop takes at a time (two AVX-512 vectors of bfloat16)."""

SPLIT = 32768
"""Elements from which torch cuts an elementwise kernel between threads (at::internal::GRAIN_SIZE)."""

_SLOPE = torch.tensor(math.sqrt(2 / math.pi))
_CUBIC = 0.044715 * math.sqrt(2 / math.pi)


def gated(gate_up: Tensor) -> Tensor:
    """gelu(gate) * up from [rows, 2 * width]."""
    return gated_by(*gate_up.chunk(2, -1))


def gated_by(gate: Tensor, up: Tensor) -> Tensor:
    """gelu(gate) * up, both [rows, width]."""
    if kernels := native.on(gate.device):
        return kernels.gated(gate, up)
    return gelu(gate).mul_(up)


def gelu(x: Tensor) -> Tensor:
    """The tanh approximation, of [rows, width]."""
    rows, width = x.shape
    if x.device.type != "cpu" or (width % VECTORS == 0 and rows * width < SPLIT):
        return F.gelu(x, approximate="tanh")
    if width % VECTORS and width < SPLIT:
        return gelu(torch.constant_pad_nd(x, (0, -width % VECTORS)))[:, :width]
    if width % VECTORS == 0 and width < SPLIT:
        return torch.cat([F.gelu(part, approximate="tanh") for part in torch.split(x, (SPLIT - 1) // width)])
    wide = x.float()
    bent = torch.addcmul(_SLOPE, wide, wide, value=_CUBIC).mul_(wide).tanh_()
    return torch.addcmul(wide, wide, bent).mul_(0.5).to(x.dtype)
