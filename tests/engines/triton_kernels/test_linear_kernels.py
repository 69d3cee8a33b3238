"""The Triton kernels of linear layers, in the interpreter: true widths, few outputs. `python -m tests.soak gpu_kernels`
tries many more."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install 'gemma-cli[triton]'")

from gemma_cli.engines.local.triton_kernels.tiles import Bits, LinearTile, linear_tile
from tests.engines.triton_kernels.checks.fenced_kernels import CARDS, FencedKernels, bits, fenced
from tests.engines.triton_kernels.checks.linear_checks import check_gated, check_linear, compare_rows, linear_of

COUNTS = (1, 5)

KINDS: tuple[Bits, ...] = (16, 8, 4)


@pytest.fixture
def kernels() -> FencedKernels:
    torch.manual_seed(0)
    return FencedKernels()


@pytest.mark.parametrize("kind", KINDS)
def test_the_tile_of_a_released_shape(kernels: FencedKernels, kind: Bits) -> None:
    """The inner dimension of E2B's o_proj in the parts it has on an H100."""
    tile = linear_tile(kernels.card, 1536, 2048, kind)
    assert tile.parts > 1
    check_linear(kernels, kind, tile.outputs, 2048, tile, COUNTS[:1], rows=3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_that_no_tile_divides(kernels: FencedKernels, kind: Bits) -> None:
    """As with 26B's experts, whose 704 inputs are 5.5 blocks of 128; and outputs end in the middle of a tile."""
    check_linear(kernels, kind, 45, 352, LinearTile(32, 128, 2, 256, 4, 3), COUNTS)


@pytest.mark.parametrize("kind", KINDS)
def test_gated_activations(kernels: FencedKernels, kind: Bits) -> None:
    check_gated(kernels, kind, 45, 352, LinearTile(32, 128, 2, 256, 4, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_more_rows_than_a_tile(kernels: FencedKernels, kind: Bits) -> None:
    check_linear(kernels, kind, 32, 256, LinearTile(32, 128, 2, 128, 4, 3), (17,), rows=20)


def test_parts_are_added_in_one_order_whichever_comes_last(
    kernels: FencedKernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.runtime.interpreter import InterpreterBuilder

    tile = LinearTile(32, 128, 3, 256, 4, 3)
    launch, _ = linear_of(kernels, torch.randn(32, 768).to(torch.bfloat16), 16, tile)
    x = fenced(torch.randn(16, 768).to(torch.bfloat16))
    expected, place = launch(x), InterpreterBuilder.set_grid_idx
    for order in permutations(range(3)):

        def moved(self: Any, tile: int, part: int, block: int, order: tuple[int, ...] = order) -> None:
            place(self, tile, order[part], block)

        monkeypatch.setattr(InterpreterBuilder, "set_grid_idx", moved)
        assert torch.equal(bits(launch(x)), bits(expected)), f"parts that arrive as {order}"
    kernels.check_fences()


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_released_shape_has_a_tile_that_covers_it_once(card: str, kind: Bits) -> None:
    from gemma_cli.engines.local.triton_kernels.launcher import COUNTERS
    from gemma_cli.engines.local.triton_kernels.tiles import FEW
    from tests.engines.triton_kernels.checks.released_shapes import every_shape

    for shapes in every_shape().values():
        for out, width in shapes.linear | shapes.pairs | shapes.times:
            tile = linear_tile(CARDS[card], out, width, kind)
            assert tile.parts * tile.part_width >= width > (tile.parts - 1) * tile.part_width
            assert tile.part_width % tile.inputs == 0
            assert -(-out // tile.outputs) * -(-FEW // 16) <= COUNTERS


def test_a_kernel_that_mixes_rows_is_noticed(kernels: FencedKernels) -> None:
    """The check itself: a result that depends on the number of rows fails it."""
    weight = torch.randn(32, 256).to(torch.bfloat16)
    x = torch.randn(16, 256).to(torch.bfloat16)

    def mixing(x: torch.Tensor) -> torch.Tensor:
        return kernels.linear(x, 16, weight, None) + (len(x) == 5)

    with pytest.raises(AssertionError, match="5 rows differ"):
        compare_rows(mixing, x, mixing(x), COUNTS)
