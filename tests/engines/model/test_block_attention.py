"""Attention of a prefill chunk in blocks of keys is attention, and its memory does not grow with the context."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemma_cli.engines.local.model.attention import blockwise, many_rows
from gemma_cli.engines.local.model.chunks import CHUNK
from tests.engines.helpers.gpu import true_shapes
from tests.engines.helpers.gpu.refusing import Footprint

GIB = 1 << 30


def reference(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """In float64, head by head; seen: bool [rows, keys]."""
    heads = query.shape[1]
    outputs = []
    for head in range(heads):
        group = head * keys.shape[0] // heads
        scores = (query[:, head].double() @ keys[group].double().T).masked_fill(~seen, -torch.inf)
        outputs.append(torch.softmax(scores, -1) @ values[group].double())
    return torch.cat(outputs, -1)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 9),
    before=st.integers(0, 20),
    groups=st.sampled_from([1, 2]),
    block=st.integers(1, 12),
    window=st.integers(1, 30),
    image=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_blocks_give_what_all_keys_at_once_give(
    rows: int, before: int, groups: int, block: int, window: int, image: int, seed: int
) -> None:
    """Causal rows, of a window or of all keys, and the first `image` of them seeing each other."""
    generator = torch.Generator().manual_seed(seed)
    query, keys, values = (
        torch.randn(*shape, generator=generator)
        for shape in ((rows, 4, 8), (groups, before + rows, 8), (groups, before + rows, 8))
    )
    distance = (before + torch.arange(rows))[:, None] - torch.arange(before + rows)
    near = (distance >= 0) & (distance < window)
    far = distance >= 0
    for seen in (near, far):
        seen[:image, before : before + image] = True
    for mask, seen in ((near, near), (far[:, before:], far), (far, far)):
        expected = reference(query * 3, keys, values, seen)
        for found in (blockwise(query * 3, keys, values, mask, block), many_rows(query * 3, keys, values, mask)):
            torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("heads", "groups", "dim"), [(32, 4, 512), (16, 1, 512), (8, 1, 512)], ids=["31b", "12b", "e2b"]
)
def test_memory_of_a_long_prompt_stays_below_a_gibibyte(heads: int, groups: int, dim: int) -> None:
    """After 128k and 256k tokens alike."""
    with true_shapes.gpu():
        peaks = []
        for length in (1 << 17, 1 << 18):
            query = torch.empty(CHUNK, heads, dim, dtype=torch.bfloat16, device=true_shapes.GPU)
            keys = torch.empty(groups, length, dim, dtype=torch.bfloat16, device=true_shapes.GPU)
            mask = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=true_shapes.GPU)
            with Footprint() as used:
                many_rows(query, keys, keys, mask)
            peaks.append(used.peak)
    assert peaks[0] == peaks[1] < GIB
