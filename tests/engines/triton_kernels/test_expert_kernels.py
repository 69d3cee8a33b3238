"""The Triton kernels of a mixture of experts, in the interpreter. `python -m tests.soak gpu_kernels` tries more."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install 'gemma-cli[triton]'")

from gemma_cli.engines.local.triton_kernels.tiles import Bits
from tests.engines.triton_kernels.checks.expert_checks import check_experts
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels


@pytest.mark.parametrize("kind", [16, 8, 4])
def test_experts(kind: Bits) -> None:
    """Inner widths that no tile divides, as 26B's 704 is 5.5 blocks of 128."""
    torch.manual_seed(0)
    check_experts(FencedKernels(), kind, hidden=160, inner=96, experts=16, per_row=4, rows=5)


def test_more_rows_than_a_tile() -> None:
    torch.manual_seed(0)
    check_experts(FencedKernels(), 16, hidden=64, inner=32, experts=8, per_row=2, rows=19)
