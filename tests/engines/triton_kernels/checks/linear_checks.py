"""Checks of the Triton kernels against float64, and of a row's bits among other rows; each returns how many rows of
results it compared bit for bit, and raises AssertionError at the first that differs.

The suite runs a few, the trial `gpu_kernels` thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local.model.layers.rounding import eight_bits, four_bits, from_eight_bits, from_four_bits
from gemma_cli.engines.local.triton_kernels.layout import pack
from gemma_cli.engines.local.triton_kernels.tiles import Bits, LinearTile
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels, bits, fenced

BFLOAT16 = 2.0**-8
"""Relative error of rounding to bfloat16, at most."""

EVERY_COUNT = range(1, 17)

Launch = Callable[[Tensor], Tensor]


def close(result: Tensor, reference: Tensor, magnitude: Tensor) -> None:
    """Assert that bfloat16 results are the float64 reference, rounded. magnitude: of the sums' absolute terms."""
    error = (result.double() - reference).abs()
    allowed = reference.abs() * BFLOAT16 + magnitude * 2e-6
    assert (error <= allowed).all(), f"{(error / allowed).max().item():.1f} times the error that rounding explains"


def compare_rows(launch: Launch, x: Tensor, whole: Tensor, counts: Iterable[int]) -> int:
    """Compare the rows of `whole`, which is launch(x), with those of fewer rows and of other places."""
    compared = 0
    for count in counts:
        assert torch.equal(bits(launch(fenced(x[:count]))), bits(whole[:count])), f"{count} rows differ from {len(x)}"
        compared += count
    places = torch.randperm(len(x))
    assert torch.equal(bits(launch(fenced(x[places]))), bits(whole[places])), "a row differs in another place"
    alone = len(x) // 2
    assert torch.equal(bits(launch(fenced(x[alone:][:1]))), bits(whole[alone:][:1])), "a row differs when alone"
    return compared + len(x) + 1


def stored_as(weight: Tensor, kind: Bits) -> tuple[Tensor, Tensor | None, Tensor]:
    """A weight in `kind` bits as the kernels read it, its scale, and the float64 weight that it stands for."""
    if kind == 16:
        return fenced(weight), None, weight.double()
    if kind == 8:
        numbers, scale = eight_bits(weight)
        return fenced(numbers), fenced(scale), from_eight_bits(numbers.double(), scale.double(), torch.float64)
    numbers, scale = four_bits(weight)
    words, scales = pack([(numbers, scale)], (weight.shape[0], weight.shape[1]), weight.device)
    return fenced(words), fenced(scales), from_four_bits(numbers, scale, torch.float64)


def linear_of(kernels: FencedKernels, weight: Tensor, kind: Bits, tile: LinearTile) -> tuple[Launch, Tensor]:
    """A linear layer that computes with `kind` bits, and the float64 weight that it stands for."""
    stored, scale, known = stored_as(weight, kind)
    return lambda x: kernels.linear(x, kind, stored, scale, tile), known


def check_gated(kernels: FencedKernels, kind: Bits, out: int, width: int, tile: LinearTile, rows: int = 3) -> int:
    """Check gated activations, of a weight with gates and ups and of one with gates alone."""
    x = torch.randn(rows, width).to(torch.bfloat16)
    up = fenced(torch.randn(rows, 2 * out).to(torch.bfloat16))[:, out:]
    compared = 0
    for pairs in (True, False):
        outputs = 2 * out if pairs else out
        stored, scale, known = stored_as((torch.randn(outputs, width) / width**0.5).to(torch.bfloat16), kind)

        whole = kernels.gated_linear(fenced(x), kind, stored, scale, None if pairs else up, tile)
        sums = x.double() @ known.T
        gate, factor = sums.chunk(2, -1) if pairs else (sums, up.double())
        exact = F.gelu(gate, approximate="tanh") * factor
        assert ((whole.double() - exact).abs() <= exact.abs() * BFLOAT16 + 1e-5 * (1 + factor.abs())).all()
        for row in range(rows):
            one = slice(row, row + 1)
            alone = kernels.gated_linear(fenced(x[one]), kind, stored, scale, None if pairs else up[one], tile)
            assert torch.equal(bits(alone), bits(whole[one])), "a row differs when alone"
            compared += 1
        kernels.check_fences()
    return compared


def check_linear(
    kernels: FencedKernels,
    kind: Bits,
    out: int,
    width: int,
    tile: LinearTile,
    counts: Sequence[int] = EVERY_COUNT,
    rows: int = 16,
) -> int:
    """Check a linear layer [out, width] in a given tile."""
    weight = (torch.randn(out, width) / width**0.5).to(torch.bfloat16)
    launch, known = linear_of(kernels, weight, kind, tile)
    x = torch.randn(rows, width).to(torch.bfloat16)
    whole = launch(fenced(x))
    close(whole, x.double() @ known.T, x.double().abs() @ known.abs().T)
    compared = compare_rows(launch, x, whole, counts)
    x[rows // 2, width // 3] = float("nan")
    spoilt = launch(fenced(x))
    assert spoilt[rows // 2].isnan().all(), "what is not a number was lost"
    others = torch.arange(rows) != rows // 2
    assert torch.equal(bits(spoilt[others]), bits(whole[others])), "what is not a number reached another row"
    kernels.check_fences()
    return compared + rows - 1
