"""The Triton kernels of attention, in the interpreter. `python -m tests.soak gpu_kernels` tries many more."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install 'gemma-cli[triton]'")

from gemma_cli.engines.local.triton_kernels import tiles
from tests.engines.triton_kernels.checks.attention_checks import AttentionCase, check_attention
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels

CASES = {
    "full, a part's end inside the pass": AttentionCase(8, 1, 512, 512, 255),
    "ring, wrapped": AttentionCase(2, 2, 256, 320, 5000, 256),
    "ring, young": AttentionCase(4, 1, 64, 320, 0, 256),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_attention(case: AttentionCase) -> None:
    torch.manual_seed(0)
    check_attention(FencedKernels(), case, (1,), rows=3)


def test_host_and_kernel_agree_on_where_parts_begin() -> None:
    from gemma_cli.engines.local.triton_kernels.source import attention

    assert (tiles.SHORT, tiles.LONG, tiles.MANY) == (attention.SHORT, attention.LONG, attention.MANY)
    for slots in (1, 256, 257, 8192, 8193, 9216, 9217, 131072):
        begins = [256 * part for part in range(32)] + [8192 + 1024 * part for part in range(400)]
        assert tiles.attention_parts(slots) == sum(begin < slots for begin in begins)
