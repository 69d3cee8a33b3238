"""Checks of the attention kernels; see linear_checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels, bits, fenced
from tests.engines.triton_kernels.checks.linear_checks import BFLOAT16


@dataclass(frozen=True)
class AttentionCase:
    """heads and key heads of `dim`, slots of the cache, position of the first row, window (0: a full layer)."""

    heads: int
    key_heads: int
    dim: int
    slots: int
    position: int
    window: int = 0


def check_attention(kernels: FencedKernels, case: AttentionCase, counts: Sequence[int], rows: int = 16) -> int:
    """Compare attention with float64, then its rows with those of fewer rows, of passes that begin later, and of caches
    with more slots; return how many rows were compared bit for bit."""
    query = (torch.randn(rows, case.heads, case.dim) * 2 / case.dim**0.5).to(torch.bfloat16)
    keys, values = (torch.randn(case.key_heads, case.slots, case.dim).to(torch.bfloat16) for _ in range(2))
    stored = fenced(keys), fenced(values)

    def launch(query: Tensor, first: int = 0, slots: tuple[Tensor, Tensor] = stored) -> Tensor:
        start = fenced(torch.tensor([case.position + first]))
        return kernels.attend(fenced(query), *slots, start, case.window)

    whole = launch(query)
    reference, magnitude = _reference(query, keys, values, case)
    error = (whole.double() - reference).abs()
    allowed = (reference.abs() + magnitude) * BFLOAT16 + magnitude * 2e-5
    assert (error <= allowed).all(), f"{(error / allowed).max().item():.1f} times the error that rounding explains"
    compared = 0
    for count in counts:
        assert torch.equal(bits(launch(query[:count])), bits(whole[:count])), f"{count} rows differ from {rows}"
        compared += count
    for first in (1, rows // 2, rows - 1):
        later = launch(query[first:], first)
        assert torch.equal(bits(later), bits(whole[first:])), "a row differs in another place"
        compared += rows - first
    if not case.window:
        # More slots, which hold anything; and all that no row sees is something else.
        more = (fenced(torch.cat((each, torch.full_like(each, 7.0)), 1)) for each in (keys, values))
        assert torch.equal(bits(launch(query, 0, (next(more), next(more)))), bits(whole)), "capacity changes a row"
        compared += rows
    spoilt = query.clone()
    spoilt[rows // 2, 0, 0] = float("nan")
    result = launch(spoilt)
    others = torch.arange(rows) != rows // 2
    assert result[rows // 2, : case.dim].isnan().all(), "what is not a number was lost"
    assert torch.equal(bits(result[others]), bits(whole[others])), "what is not a number reached another row"
    kernels.check_fences()
    return compared + rows - 1


def _reference(query: Tensor, keys: Tensor, values: Tensor, case: AttentionCase) -> tuple[Tensor, Tensor]:
    """Attention in float64, and the same of the absolute values: both [rows, heads * dim]."""
    group = case.heads // case.key_heads
    k, v = (each.double().repeat_interleave(group, 0) for each in (keys, values))
    position = case.position + torch.arange(len(query))[:, None]
    slot = torch.arange(case.slots)
    if case.window:
        distance = (position - slot) % case.slots
        seen = (distance < case.window) & (distance <= position)
    else:
        seen = slot <= position
    scores = torch.einsum("rhd,hnd->rhn", query.double(), k)
    weights = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
    mixed, magnitude = (torch.einsum("rhn,hnd->rhd", weights, each) for each in (v, v.abs()))
    return mixed.flatten(1), magnitude.flatten(1)
