"""The bytes of packed weights belong to a layout, by whose number a file of saved weights is found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading.packed import saving
from gemma_cli.engines.local.loading.packed.file import Writer
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear

CPU = torch.device("cpu")
LAYOUTS = {1: {8: {torch.float32: "5a83f543d20d8141", torch.bfloat16: "296c9165c974e10a"}}}
"""Digests by layout, by lanes of a vector, and by dtype. Never change one: raise `saving.LAYOUT` and add a layout."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_bytes_have_another_layout(dtype: torch.dtype, tmp_path: Path) -> None:
    kernels = native.on(CPU)
    if kernels is None or kernels.lanes not in LAYOUTS[saving.LAYOUT]:
        pytest.skip("no digest of this processor's layout has been recorded")
    shape = (70, 192)  # the last block of rows is not full
    numbers = (torch.arange(70 * 192) * 7919 % 2003 - 1001).view(shape)
    weight = (numbers.float() / 1024).to(dtype)
    file = tmp_path / "layout.weights"
    with Writer(kernels, file, {}) as writer:
        writer.add("eight", Int8Linear(weight))
        writer.add("four", Int4Linear(weight))
        writer.finish()
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:16] == LAYOUTS[saving.LAYOUT][kernels.lanes][dtype]
