"""Checks of the kernels of a mixture of experts; see linear_checks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local.model.layers.rounding import eight_bits, four_bits, from_eight_bits, from_four_bits
from gemma_cli.engines.local.triton_kernels.layout import pack
from gemma_cli.engines.local.triton_kernels.stack import Stack
from gemma_cli.engines.local.triton_kernels.tiles import Bits
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels, bits, fenced
from tests.engines.triton_kernels.checks.linear_checks import BFLOAT16


def stack_of(weight: Tensor, kind: Bits) -> tuple[Stack, Tensor]:
    """Experts' weights [experts, out, width] in `kind` bits, and what they stand for, float64."""
    width = weight.shape[2]
    if kind == 16:
        return Stack(16, width, fenced(weight), torch.zeros(1)), weight.double()
    if kind == 8:
        pairs = [eight_bits(each) for each in weight]
        known = torch.stack([from_eight_bits(n.double(), s.double(), torch.float64) for n, s in pairs])
    else:
        rounded = [four_bits(each) for each in weight]
        known = torch.stack([from_four_bits(n, s, torch.float64) for n, s in rounded])
        pairs = [pack([each], (weight.shape[1], width), weight.device) for each in rounded]
    numbers, scales = (torch.stack(column) for column in zip(*pairs, strict=True))
    return Stack(kind, width, fenced(numbers), fenced(scales)), known


def check_experts(
    kernels: FencedKernels, kind: Bits, hidden: int, inner: int, experts: int, per_row: int, rows: int = 8
) -> int:
    """Check the choice of experts, with ties, and their output; return how many rows were compared bit for bit."""
    up, known_up = stack_of((torch.randn(experts, 2 * inner, hidden) / hidden**0.5).to(torch.bfloat16), kind)
    down, known_down = stack_of((torch.randn(experts, hidden, inner) / inner**0.5).to(torch.bfloat16), kind)
    x = torch.randn(rows, hidden).to(torch.bfloat16)
    logits = torch.randn(rows, experts).to(torch.bfloat16)
    logits[1] = logits[0]  # two rows that choose the same
    logits[2, : experts * 3 // 4] = 3.0  # more equals than a row may choose
    per_expert = torch.rand(experts) + 0.5

    def launch(x: Tensor, logits: Tensor, real: int | None = None) -> Tensor:
        count = fenced(torch.tensor([len(x) if real is None else real]))
        chosen = _ranked(logits[: int(count)], per_row)
        parts, weight = kernels.experts(
            fenced(x), fenced(logits), fenced(per_expert), count, per_row, _only(up, chosen), _only(down, chosen)
        )
        return (weight[..., None] * parts.view(len(x), per_row, -1)).sum(1).to(torch.bfloat16)

    whole = launch(x, logits)
    reference, magnitude = _reference(x, logits, per_expert, per_row, known_up, known_down)
    error = (whole.double() - reference).abs()
    allowed = (reference.abs() + magnitude) * BFLOAT16 + magnitude * 2e-5
    assert (error <= allowed).all(), f"{(error / allowed).max().item():.1f} times the error that rounding explains"
    compared = 0
    for count in sorted({1, rows // 2, rows - 1}):
        assert torch.equal(bits(launch(x[:count], logits[:count])), bits(whole[:count])), f"{count} rows differ"
        compared += count
    places = torch.randperm(rows)
    assert torch.equal(bits(launch(x[places], logits[places])), bits(whole[places])), "a row differs in another place"
    real = rows // 2
    assert torch.equal(bits(launch(x, logits, real)[:real]), bits(whole[:real])), "rows that fill up a pass show"
    spoilt = logits.clone()
    spoilt[rows - 1, experts // 2] = float("nan")
    result = launch(x, spoilt)
    assert result[-1].isnan().all(), "what is not a number was lost"
    assert torch.equal(bits(result[:-1]), bits(whole[:-1])), "what is not a number reached another row"
    kernels.check_fences()
    return compared + rows + real + rows - 1


def _ranked(logits: Tensor, per_row: int) -> Tensor:
    """Ids of the best experts of each row, of equals the lowest first."""
    return logits.double().nan_to_num(-torch.inf).sort(dim=-1, descending=True, stable=True).indices[:, :per_row]


def _only(stack: Stack, chosen: Tensor) -> Stack:
    """The same weights, and what is not a number, or a telltale one, for each expert that no row chose."""
    weight, scale = stack.weight.clone(), stack.scale.clone()
    unchosen = torch.ones(len(weight), dtype=torch.bool)
    unchosen[chosen.flatten()] = False
    if stack.bits == 16:
        weight[unchosen] = float("nan")
    else:
        scale[unchosen] = float("nan")
    return Stack(stack.bits, stack.width, fenced(weight), fenced(scale))


def _reference(
    x: Tensor, logits: Tensor, per_expert: Tensor, per_row: int, up: Tensor, down: Tensor
) -> tuple[Tensor, Tensor]:
    """The experts' output in float64, and the same of absolute values in the last layer."""
    index = _ranked(logits, per_row)
    weight = torch.softmax(logits.double(), -1).gather(1, index)
    weight = weight / weight.sum(-1, keepdim=True) * per_expert.double()[index]
    gate, ups = torch.einsum("rh,rkoh->rko", x.double(), up[index]).chunk(2, -1)
    inner = F.gelu(gate, approximate="tanh") * ups
    outputs = torch.einsum("rko,rkho->rkh", inner, down[index])
    magnitude = torch.einsum("rko,rkho->rkh", inner.abs(), down[index].abs())
    return (weight[..., None] * outputs).sum(1), (weight[..., None] * magnitude).sum(1)
