"""The same functions in torch, plainly: what the kernels are checked against, and what stands in for them in tests.

They are written for the number of operations, not for speed, and compute in float32, rounding where the kernels round.
Every row is computed on its own, so that its bits do not depend on other rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gemma_cli.engines.local.triton_kernels.layout import unpack
from gemma_cli.engines.local.triton_kernels.ops import Functions
from gemma_cli.engines.local.triton_kernels.stack import Stack
from gemma_cli.engines.local.triton_kernels.tiles import Bits


class Reference(Functions):
    """Functions computed by torch, on any device."""

    def linear(self, x: Tensor, bits: Bits, weight: Tensor, scale: Tensor | None) -> Tensor:
        return _by_rows(x, _wide(bits, weight, scale, x.shape[1])).to(torch.bfloat16)

    def gated_linear(self, x: Tensor, bits: Bits, weight: Tensor, scale: Tensor | None, up: Tensor | None) -> Tensor:
        sums = _by_rows(x, _wide(bits, weight, scale, x.shape[1]))
        gate, other = sums.chunk(2, -1) if up is None else (sums, up.float())
        rows = zip(gate, other, strict=True)
        return torch.stack([_gelu(one) * two for one, two in rows]).to(torch.bfloat16)

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return (_normal(x, eps) * weight).to(torch.bfloat16)

    def add_norm(
        self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float, following: Tensor
    ) -> tuple[Tensor, Tensor]:
        total = self.add(residual, x, weight, eps, scalar)
        return total, self.norm(total, following, eps)

    def add_norms(
        self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, following: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        total = self.add(residual, x, weight, eps, 1.0)
        one, two, three = (self.norm(total, each, eps) for each in following)
        return total, one, two, three

    def add_experts(
        self,
        parts: Tensor,
        choice: Tensor,
        dense: Tensor,
        weights: Sequence[Tensor],
        residual: Tensor,
        eps: float,
        scalar: float,
    ) -> tuple[Tensor, Tensor]:
        expert, own, both, following = weights
        sums = (choice[..., None] * parts.view(*choice.shape, -1)).sum(1).to(torch.bfloat16)
        mixed = self.add(self.norm(dense, own, eps), sums, expert, eps, 1.0)
        return self.add_norm(residual, mixed, both, eps, scalar, following)

    def add(self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float) -> Tensor:
        total = (residual.float() + _normal(x, eps) * weight).to(torch.bfloat16)
        return (total.float() * scalar).to(torch.bfloat16)

    def rotation(self, position: Tensor, frequencies: Tensor, factor: float, rows: int) -> tuple[Tensor, Tensor]:
        angles = ((position + torch.arange(rows, device=position.device))[:, None].float() * frequencies).double()
        cos, sin = angles.cos().float() * factor, angles.sin().float() * factor
        return torch.cat((cos, cos), -1)[:, None], torch.cat((-sin, sin), -1)[:, None]

    def turn(
        self,
        product: Tensor,
        scale: Tensor,
        cos: Tensor,
        sin: Tensor,
        position: Tensor,
        keys: Tensor,
        values: Tensor,
        heads: int,
        eps: float,
    ) -> Tensor:
        rows, _, dim = product.shape
        key_heads = scale.shape[0] - heads
        normal = _normal(product, eps)
        turning = normal[:, : heads + key_heads] * scale
        turned = (turning * cos + turning.roll(dim // 2, -1) * sin).to(torch.bfloat16)
        if key_heads:
            at = (position + torch.arange(rows, device=position.device)) % keys.shape[1]
            keys.index_copy_(1, at, turned[:, heads:].transpose(0, 1))
            values.index_copy_(1, at, normal[:, -key_heads:].to(torch.bfloat16).transpose(0, 1))
        return turned[:, :heads].contiguous()

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, position: Tensor, window: int) -> Tensor:
        slots, group = keys.shape[1], query.shape[1] // keys.shape[0]
        slot = torch.arange(slots, device=query.device)
        k, v = (each.float().repeat_interleave(group, 0) for each in (keys, values))
        rows = []
        for index, row in enumerate(query.float()):
            last = position + index
            distance = (last - slot) % slots if window else last - slot
            seen = (distance < window) & (distance <= last) if window else distance >= 0
            scores = (k * row[:, None]).sum(-1)
            weights = torch.softmax(scores.masked_fill(~seen, -torch.inf), -1)
            rows.append((weights[..., None] * v).sum(1).flatten())
        return torch.stack(rows).to(torch.bfloat16)

    def soft_cap(self, x: Tensor, cap: float) -> Tensor:
        return torch.stack([cap * torch.tanh(row / cap) for row in x.float()])

    def experts(
        self, x: Tensor, logits: Tensor, per_expert: Tensor, real: Tensor, per_row: int, up: Stack, down: Stack
    ) -> tuple[Tensor, Tensor]:
        source = torch.minimum(torch.arange(len(x), device=x.device), real - 1)
        scores = torch.softmax(logits.float(), -1).index_select(0, source)
        best, index = torch.sort(scores, dim=-1, descending=True, stable=True)
        best, index = best[:, :per_row], index[:, :per_row]
        weights = best / best.sum(-1, keepdim=True) * per_expert[index]
        rows = []
        for row, chosen in zip(x, index, strict=True):
            gate, ups = torch.mv(_floats(up, chosen).flatten(0, 1), row.float()).view(per_row, -1).chunk(2, -1)
            hidden = (_gelu(gate) * ups).to(torch.bfloat16).float()
            rows.append((_floats(down, chosen) * hidden[:, None]).sum(-1))
        return torch.cat(rows), weights

    def choose(
        self,
        logits: Tensor,
        position: Tensor,
        ids: Tensor | None,
        top: int,
        seed: Tensor,
        temperature: Tensor,
        top_p: Tensor | None,
        least: Tensor | None,
    ) -> Tensor:
        raise NotImplementedError("decoding/sampling.py has this one")


def _by_rows(x: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([torch.mv(weight, row.float()) for row in x])


def _wide(bits: Bits, weight: Tensor, scale: Tensor | None, width: int) -> Tensor:
    if scale is None:
        return weight.float()
    return weight.float() * scale[:, None] if bits == 8 else unpack(weight, scale, width, torch.float32)


def _normal(x: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)


def _gelu(x: Tensor) -> Tensor:
    """As activation.gelu: torch's own depends on where a row falls."""
    return x / (1 + torch.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)))


def _floats(stack: Stack, chosen: Tensor) -> Tensor:
    """The weights [k, out, width] of the experts `chosen`, float32."""
    whole = stack.weight.view(torch.int16) if stack.bits == 4 else stack.weight
    weight = whole.index_select(0, chosen)
    if stack.bits == 16:
        return weight.float()
    scale = stack.scale.index_select(0, chosen)
    if stack.bits == 8:
        return weight.float() * scale[..., None]
    pairs = zip(weight.view(torch.uint16), scale, strict=True)
    return torch.stack([unpack(*pair, stack.width, torch.float32) for pair in pairs])
