"""Products with weights, and the normalisation between them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Linear:
    """y = x @ weight.T; weight [out, in], no bias (Gemma 4's decoder has none)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Norm:
    """x / rms(x) * weight over the last dimension, in float32; `weight` None leaves out the scale."""

    def __init__(self, weight: Tensor | None, eps: float, device: torch.device) -> None:
        self.weight = None if weight is None else weight.float()
        self.eps = eps
        self._eps = torch.tensor(eps, dtype=torch.float32, device=device)
        self._fused = device.type == "cuda"

    def __call__(self, x: Tensor) -> Tensor:
        return self.wide(x).to(x.dtype)

    def wide(self, x: Tensor) -> Tensor:
        """The same before it is rounded: float32."""
        if self._fused:
            return F.rms_norm(x.float(), x.shape[-1:], self.weight, self.eps)
        # Five small kernels: F.rms_norm is not fused on CPU and takes twice the time for a few rows.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scaled = x * torch.addcmul(self._eps, length, length, value=1 / x.shape[-1]).rsqrt_()
        return scaled if self.weight is None else scaled.mul_(self.weight)
