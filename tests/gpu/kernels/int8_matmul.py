"""Integer matmuls with activations in two halves, against float64, and a row's bits among any rows."""

from __future__ import annotations

from typing import Any

import torch

from gemma_cli.engines.local.model.layers.integer_matmul import integer_halves, widened
from gemma_cli.engines.local.model.layers.rounding import eight_bits, from_eight_bits


def check(device: torch.device, small: bool) -> dict[str, Any]:
    """All shapes of E2B and 31B; in small, two."""
    shapes = ((96, 64), (64, 256)) if small else ((2560, 1536), (1536, 12288), (18432, 5376), (5376, 21504))
    worst, compared = 0.0, 0
    for out, width in shapes:
        numbers, scale = eight_bits(torch.randn(out, width, device=device) / width**0.5)
        x = torch.randn(40, width, device=device)
        expected = x.double() @ from_eight_bits(numbers.double(), scale.double(), torch.float64).T
        for made, allowed in ((integer_halves(numbers, scale), 2e-4), (widened(numbers, scale), 1e-2)):
            worst = max(worst, ((made(x).double() - expected).norm() / expected.norm()).item())
            assert worst < allowed, f"[{out}, {width}]: relative error {worst:.1e}"
            if made is not None and allowed == 2e-4:
                whole = made(x)
                for count in (1, 2, 5, 8, 16, 17, 39):
                    assert torch.equal(made(x[:count].clone()), whole[:count]), f"{count} rows differ from 40"
                    compared += count
                assert torch.equal(made(x.flip(0)), whole.flip(0)), "a row differs in another place"
    return {"relative error": worst, "rows compared": compared}
