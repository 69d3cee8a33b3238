"""The Triton kernels of attention, in the interpreter. `python -m tests.soak gpu_kernels` tries many more."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install 'gemma-cli[triton]'")

from gemma_cli.engines.local.triton_kernels import tiles
from tests.engines.triton_kernels.checks.attention_checks import AttentionCase, check_attention
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels

CASES = {
    "full, a part's end inside the pass": AttentionCase(8, 1, 512, 1024, 509),
    "ring, wrapped": AttentionCase(4, 2, 256, 1088, 5000, 1024),
    "ring, young": AttentionCase(8, 1, 256, 576, 0, 512),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_attention(case: AttentionCase) -> None:
    torch.manual_seed(0)
    check_attention(FencedKernels(), case, (1, 3), rows=5)


def test_long_parts_begin_where_short_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that begins at slot 8192 has 1024 slots: two key heads of a small size, to reach it."""
    torch.manual_seed(0)
    check_attention(FencedKernels(), AttentionCase(2, 1, 16, 9472, 9214), (1,), rows=4)


def test_host_and_kernel_agree_on_where_parts_begin() -> None:
    from gemma_cli.engines.local.triton_kernels.source import attention

    assert (tiles.SHORT, tiles.LONG, tiles.MANY) == (attention.SHORT, attention.LONG, attention.MANY)
    for slots in (1, 256, 257, 8192, 8193, 9216, 9217, 131072):
        begins = [256 * part for part in range(32)] + [8192 + 1024 * part for part in range(400)]
        assert tiles.attention_parts(slots) == sum(begin < slots for begin in begins)
