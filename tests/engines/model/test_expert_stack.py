"""Experts whose weights lie in one tensor give what each gives alone, for any number of rows and at any place."""

from __future__ import annotations

import pytest
import torch

from gemma_cli.engines.local.model.layers import moe
from gemma_cli.engines.local.model.layers.activation import gelu
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.layers.linear import FEW, Linear, Norm
from gemma_cli.engines.local.model.layers.moe import Experts
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear

CPU = torch.device("cpu")
COUNT, HIDDEN, INNER, TOP = 12, 64, 96, 3
KINDS = {"floats": Linear, "int8": Int8Linear, "int4": Int4Linear}


def stack(kind: type[Linear], *shape: int, seed: int) -> ExpertStack:
    weights = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / shape[-1] ** 0.5
    if kind is Linear:
        return ExpertStack.of_floats(weights)
    return ExpertStack.rounded(kind, iter(weights), shape[0], torch.float32)


@pytest.fixture(params=KINDS)
def experts(request: pytest.FixtureRequest) -> Experts:
    torch.set_num_threads(1)
    norm = Norm(torch.ones(HIDDEN), 1e-6, CPU)
    router = torch.randn(COUNT, HIDDEN, generator=torch.Generator().manual_seed(2))
    return Experts(
        router_norm=norm,
        router=Linear(router),
        per_expert=torch.rand(COUNT, generator=torch.Generator().manual_seed(3)) + 0.5,
        gate_up=stack(KINDS[request.param], COUNT, 2 * INNER, HIDDEN, seed=0),
        down=stack(KINDS[request.param], COUNT, HIDDEN, INNER, seed=1),
        norm=norm,
        dense_norm=norm,
        expert_norm=norm,
        per_row=TOP,
    )


def rows(count: int, seed: int = 4) -> torch.Tensor:
    return torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(seed))


def test_few_rows_give_what_many_give(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows gather weights, many are grouped by expert; both against float64."""
    x = rows(FEW)
    gathered = experts(x, FEW)
    assert isinstance(experts.gate_up, ExpertStack)
    assert isinstance(experts.down, ExpertStack)
    index, weights = experts._route(x)
    for row in range(FEW):
        gate, up = (experts.gate_up.of(index[row]).double() @ experts.norm(x)[row].double()).chunk(2, -1)
        each = experts.down.of(index[row]).double() @ (gelu(gate) * up)[..., None]
        torch.testing.assert_close(gathered[row].double(), weights[row].double() @ each[..., 0], atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(moe, "FEW", 0)
    torch.testing.assert_close(experts(x, FEW), gathered, atol=1e-5, rtol=1e-4)


def test_a_row_has_its_bits_among_any_rows(experts: Experts) -> None:
    x = rows(FEW)
    whole = experts(x, FEW)
    for count in range(1, FEW + 1):
        assert torch.equal(experts(x[:count], count), whole[:count])
    assert torch.equal(experts(x.flip(0), FEW), whole.flip(0))


def test_rows_that_fill_up_a_pass_gather_nothing(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    x, gathered = rows(8), []
    of = ExpertStack.of
    monkeypatch.setattr(ExpertStack, "of", lambda self, chosen: gathered.append(len(chosen)) or of(self, chosen))
    found = experts(x, 3)
    assert gathered == [TOP] * 6
    assert found.shape == x.shape
    assert torch.equal(found[3:], found[2:3].expand(5, -1))


def test_quantized_experts_are_the_weights_rounded() -> None:
    weights = torch.randn(3, 16, 64, generator=torch.Generator().manual_seed(5))
    for kind, steps, most in ((Int8Linear, 127, 0.51), (Int4Linear, 8, 1.01)):  # to 7, where -8 is the largest
        found = ExpertStack.rounded(kind, iter(weights), 3, torch.float32)
        every = found.of(torch.tensor([2, 0, 1]))
        largest = weights.abs().amax().item()
        assert (every - weights[[2, 0, 1]]).abs().max() <= most * largest / steps
        assert torch.equal(found[1](torch.eye(64)), every[2].T)
