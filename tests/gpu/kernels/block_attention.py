"""Attention of a prefill chunk in blocks of keys, against float64."""

from __future__ import annotations

from typing import Any

import torch

from gemma_cli.engines.local.model.attention import blockwise


def check(device: torch.device, small: bool) -> dict[str, Any]:
    """A chunk of 31B after a long context, a slice of its heads; in small, a short one."""
    rows, length, heads, groups, dim = (16, 100, 4, 2, 16) if small else (512, 16384, 8, 1, 512)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    query, keys, values = (
        torch.randn(*shape, device=device).to(dtype)
        for shape in ((rows, heads, dim), (groups, length, dim), (groups, length, dim))
    )
    query /= dim**0.5
    mask = torch.ones(rows, rows, dtype=torch.bool, device=device).tril()
    found = blockwise(query, keys, values, mask, block=length // 3 + 1).view(rows, heads, dim)
    seen = torch.nn.functional.pad(mask, (length - rows, 0), value=True)
    worst = 0.0
    for head in range(0, heads, 3):
        group = head * groups // heads
        scores = (query[:, head].double() @ keys[group].double().T).masked_fill(~seen, -torch.inf)
        expected = torch.softmax(scores, -1) @ values[group].double()
        worst = max(worst, ((found[:, head].double() - expected).norm() / expected.norm()).item())
    assert worst < (1e-5 if dtype == torch.float32 else 1e-2), f"relative error {worst:.1e}"
    return {"relative error": worst}
