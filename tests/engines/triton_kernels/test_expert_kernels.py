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
    """Widths that are no multiple of a tile, as 26B's 704."""
    torch.manual_seed(0)
    check_experts(FencedKernels(), kind, hidden=160, inner=32, experts=8, per_row=2, rows=3)


def test_more_rows_than_a_tile() -> None:
    torch.manual_seed(0)
    check_experts(FencedKernels(), 16, hidden=32, inner=32, experts=4, per_row=1, rows=18)
