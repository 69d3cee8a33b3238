"""Checks of the kernels between linear layers, and of the choice of tokens; see linear_checks."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding.sampling import Sampler, seed_key
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.triton_kernels.reference import Reference
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels, bits, fenced
from tests.engines.triton_kernels.checks.linear_checks import close, compare_rows

EPS = 1e-6


def check_norms(kernels: FencedKernels, width: int, rows: int = 4) -> int:
    """Check norms with and without a residual and a norm that follows; return the rows compared bit for bit."""
    x, residual = (torch.randn(rows, width).to(torch.bfloat16) for _ in range(2))
    weight, following = (fenced(torch.rand(width) + 0.5) for _ in range(2))

    def normal(x: Tensor, weight: Tensor) -> Tensor:
        wide = x.double()
        return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS) * weight.double()

    whole = kernels.norm(fenced(x), weight, EPS)
    close(whole, normal(x, weight), normal(x, weight).abs())
    compared = compare_rows(lambda x: kernels.norm(x, weight, EPS), x, whole, range(1, rows))

    total, after = kernels.add_norm(fenced(residual), fenced(x), weight, EPS, 0.37, following)
    rounded = (residual.double() + normal(x, weight)).to(torch.bfloat16).double() * 0.37
    # A sum that float32 rounds another way than float64 may fall on the other side of a tie, once in thousands.
    assert ((total.double() - rounded).abs() <= rounded.abs() * 2**-7).all()
    assert (total != rounded.to(torch.bfloat16)).sum() <= max(1, total.numel() // 1000)
    close(after, normal(total, following), normal(total, following).abs())
    weights = [fenced(torch.rand(width) + 0.5) for _ in range(3)]
    three = kernels.add_norms(fenced(residual), fenced(x), weight, EPS, weights)
    for found, other in zip(three[1:], weights, strict=True):
        assert torch.equal(bits(found), bits(kernels.add_norm(residual, x, weight, EPS, 1.0, other)[1]))
    alone = kernels.add(fenced(residual[1:2]), fenced(x[1:2]), weight, EPS, 0.37)
    assert torch.equal(bits(alone), bits(total[1:2]))
    kernels.check_fences()
    return compared + 1


def check_turn(
    kernels: FencedKernels, heads: int, key_heads: int, dim: int, slots: int, position: int, kind: str, rows: int = 5
) -> int:
    """Check rotation and the slots that keys and values are stored in. kind: "apart", "values are keys", "queries"."""
    stored = 0 if kind == "queries" else key_heads
    count = heads + stored * (2 if kind == "apart" else 1)
    product = torch.randn(rows, count, dim).to(torch.bfloat16)
    scale = torch.rand(heads + stored, dim) + 0.5
    angle = torch.rand(rows, 1, dim // 2) * 6
    cos, sin = torch.cat((angle.cos(),) * 2, -1), torch.cat((-angle.sin(), angle.sin()), -1)
    keys, values = (torch.randn(key_heads, slots, dim).to(torch.bfloat16) for _ in range(2))

    def launch(first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        home = fenced(keys), fenced(values)
        query = kernels.turn(
            fenced(product[first:last]), fenced(scale), fenced(cos[first:last]), fenced(sin[first:last]),
            fenced(torch.tensor([position + first])), *home, heads, EPS,
        )  # fmt: skip
        return query, *home

    query, new_keys, new_values = launch(0, rows)
    wide = product.double()
    normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)
    turning = normal[:, : heads + stored] * scale.double()
    turned = turning * cos.double() + turning.roll(dim // 2, -1) * sin.double()
    magnitude = turning.abs() + turning.roll(dim // 2, -1).abs()
    close(query, turned[:, :heads], magnitude[:, :heads])
    at = (position + torch.arange(rows)) % slots
    if stored:
        close(new_keys[:, at], turned[:, heads:].transpose(0, 1), magnitude[:, heads:].transpose(0, 1))
        close(new_values[:, at], normal[:, -stored:].transpose(0, 1), normal[:, -stored:].abs().transpose(0, 1))
    others = torch.ones(slots, dtype=torch.bool)
    others[at if stored else []] = False
    assert torch.equal(new_keys[:, others], keys[:, others]), "another slot was written"
    assert torch.equal(new_values[:, others], values[:, others]), "another slot was written"
    alone, own_keys, _ = launch(2, 3)
    assert torch.equal(bits(alone), bits(query[2:3]))
    assert torch.equal(bits(own_keys[:, at[2]]), bits(new_keys[:, at[2]]))
    kernels.check_fences()
    return 2


def check_rotation(kernels: FencedKernels, half: int, position: int, rows: int = 3) -> int:
    """Check the rotation's tables with those of the model."""
    frequencies = 1e6 ** -(torch.arange(half) / half)
    expected = Rope(tuple(frequencies.tolist()), 0.75, torch.device("cpu")).at(position + torch.arange(rows))
    found = kernels.rotation(fenced(torch.tensor([position])), fenced(frequencies), 0.75, rows)
    for table, other in zip(found, expected, strict=True):
        assert ((table - other).abs() <= 1e-7).all()
    alone = kernels.rotation(fenced(torch.tensor([position + 1])), fenced(frequencies), 0.75, 1)
    assert all(torch.equal(bits(one[0]), bits(table[1])) for one, table in zip(alone, found, strict=True))
    kernels.check_fences()
    return 1


def check_end_of_experts(kernels: FencedKernels, width: int, per_row: int, rows: int = 3) -> int:
    """Compare the end of a layer with experts with the same steps one by one."""
    parts, choice = torch.randn(rows * per_row, width), torch.rand(rows, per_row)
    dense, residual = (torch.randn(rows, width).to(torch.bfloat16) for _ in range(2))
    weights = [fenced(torch.rand(width) + 0.5) for _ in range(4)]

    def launch(one: slice) -> tuple[Tensor, Tensor]:
        some = slice(one.start * per_row, one.stop * per_row)
        return kernels.add_experts(
            fenced(parts[some]), fenced(choice[one]), fenced(dense[one]), weights, fenced(residual[one]), EPS, 0.37
        )

    whole = launch(slice(0, rows))
    stepwise = Reference().add_experts(parts, choice, dense, weights, residual, EPS, 0.37)
    for found, expected in zip(whole, stepwise, strict=True):
        error = (found.double() - expected.double()).norm() / expected.double().norm()
        assert error < 2e-3, f"relative error {error:.1e}"
    for row in range(rows):
        alone = launch(slice(row, row + 1))
        assert all(torch.equal(bits(one[0]), bits(each[row])) for one, each in zip(alone, whole, strict=True))
    kernels.check_fences()
    return rows


def check_soft_cap(kernels: FencedKernels, width: int, rows: int = 3) -> int:
    """Check the soft cap, at both ends of its range too."""
    both = (torch.randn(rows, 2 * width) * 3).to(torch.bfloat16)
    both[0, : min(width, 6)] = torch.tensor([0.0, -0.0, 60.0, -60.0, 1e-3, -3e4][: min(width, 6)])
    capped = kernels.soft_cap(fenced(both), 30.0)
    exact = 30 * (both.double() / 30).tanh()
    assert ((capped.double() - exact).abs() <= exact.abs() * 3e-6).all()
    kernels.check_fences()
    return 1


def check_choice(
    kernels: FencedKernels, width: int, sampling: Sampling, rows: int, odd: str = "", named: bool = False
) -> int:
    """Compare choices with sampling.Sampler's. odd: what is special about the logits: "ties", "nan", "inf", "low"."""
    logits = torch.randn(rows, width) * 4
    if odd == "ties":
        logits = logits.round()
    if odd in ("nan", "inf"):
        logits[0, random.randrange(width)] = float(odd)
    if odd == "low":
        logits[0, random.sample(range(width), width - 1)] = -torch.inf
        logits[1] = -torch.inf
    ids = torch.stack([torch.randperm(1 << 18)[:width] for _ in range(rows)]) if named else None
    position = random.randrange(1 << 18)
    expected = Sampler(sampling).choose(logits, position + torch.arange(rows), ids)
    kernels.columns = 32  # the interpreter takes minutes for those of a GPU
    chosen = kernels.choose(
        fenced(logits),
        fenced(torch.tensor([position])),
        None if ids is None else fenced(ids),
        sampling.top_k if sampling.temperature else 0,
        torch.tensor(seed_key(sampling.seed)),
        torch.tensor(sampling.temperature, dtype=torch.float64),
        torch.tensor(sampling.top_p, dtype=torch.float64) if sampling.top_p < 1 else None,
        torch.tensor(sampling.min_p, dtype=torch.float64).log() if sampling.min_p > 0 else None,
    )
    assert torch.equal(chosen, expected), f"{chosen.tolist()} chosen, not {expected.tolist()}"
    kernels.check_fences()
    return rows
