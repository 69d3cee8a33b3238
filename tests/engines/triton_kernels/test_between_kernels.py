"""The Triton kernels between linear layers, and the choice of tokens, in the interpreter. `python -m tests.soak
gpu_kernels` tries more."""

from __future__ import annotations

import random

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install 'gemma-cli[triton]'")

from gemma_cli.core.messages import Sampling
from tests.engines.triton_kernels.checks.between_checks import (
    check_choice,
    check_end_of_experts,
    check_norms,
    check_rotation,
    check_soft_cap,
    check_turn,
)
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels


@pytest.fixture
def kernels() -> FencedKernels:
    torch.manual_seed(0)
    random.seed(0)
    return FencedKernels()


@pytest.mark.parametrize("width", [256, 1000])
def test_norms(kernels: FencedKernels, width: int) -> None:
    check_norms(kernels, width)


@pytest.mark.parametrize("kind", ["apart", "values are keys", "queries"])
def test_heads_are_turned_and_stored_around_the_end_of_a_ring(kernels: FencedKernels, kind: str) -> None:
    check_turn(kernels, 8, 2, 256, 24, 24 * 7 - 2, kind)


@pytest.mark.parametrize(("half", "position"), [(128, 262_143), (20, 0)])
def test_rotation(kernels: FencedKernels, half: int, position: int) -> None:
    check_rotation(kernels, half, position)


@pytest.mark.parametrize("width", [3, 1024, 2112])
def test_soft_cap(kernels: FencedKernels, width: int) -> None:
    check_soft_cap(kernels, width)


def test_the_end_of_a_layer_with_experts(kernels: FencedKernels) -> None:
    check_end_of_experts(kernels, 352, 8)


SAMPLINGS = {
    "greedy": Sampling(temperature=0.0),
    "all settings": Sampling(temperature=0.7, top_k=3, top_p=0.8, min_p=0.05, seed=2**63 + 5),
    "hot": Sampling(temperature=3.0, top_k=4, top_p=1.0, seed=-1),
}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_choice(kernels: FencedKernels, sampling: Sampling) -> None:
    check_choice(kernels, 100, sampling, rows=2, odd="ties")


@pytest.mark.parametrize("odd", ["nan", "inf", "low"])
def test_a_choice_among_what_is_no_finite_number(kernels: FencedKernels, odd: str) -> None:
    check_choice(kernels, 32, Sampling(top_k=2), rows=2, odd=odd)


def test_choice_among_the_ids_of_a_shortlist(kernels: FencedKernels) -> None:
    check_choice(kernels, 40, Sampling(top_k=2, seed=1), rows=2, odd="ties", named=True)
