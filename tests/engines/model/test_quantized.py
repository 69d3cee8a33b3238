"""Products with weights of eight and four bits: what they compute, and that a row's bits depend on that row alone."""

from __future__ import annotations

import importlib
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gemma_cli.core.engine import EngineSpec, Quantization
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import collect
from gemma_cli.core.messages import Drafting, Request, Sampling, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading.load import load_drafter, load_target
from gemma_cli.engines.local.loading.random_weights import RandomWeights
from gemma_cli.engines.local.model.layers import quantized
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.quantized import Int4Linear, Int8Linear, kinds_for
from gemma_cli.engines.local.model.layers.rounding import (
    ELEMENTS,
    eight_bits,
    four_bits,
    from_eight_bits,
    from_four_bits,
)
from gemma_cli.engines.local.model.layers.torch_int8 import STEPS, integer_products
from tests.engines.helpers import exactness, shapes
from tests.engines.helpers.kernels import WITHOUT, kernels_for

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16)
BOTH: tuple[Quantization, ...] = ("int8", "int4")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(linear: Linear, weight: Tensor) -> Tensor:
    """The weights that a product of `weight` stands for."""
    if isinstance(linear, Int8Linear):
        return from_eight_bits(*eight_bits(weight), torch.float64)
    return from_four_bits(*four_bits(weight), torch.float64)


def test_eight_bits_err_by_half_a_step_at_most() -> None:
    weight = normal(ELEMENTS // 40 + 3, 40)  # in two slices
    weight[7] = 0
    numbers, scale = eight_bits(weight)
    assert ((from_eight_bits(numbers, scale, torch.float32) - weight).abs() <= scale[:, None] * 0.5001).all()
    assert numbers.abs().amax() == 127


def test_four_bits_keep_a_grid_they_were_trained_for() -> None:
    """Weights that lie on Q4_0's grid, stored in bfloat16, come back bit for bit."""
    weight = from_four_bits(*four_bits(normal(64, 96)), torch.bfloat16)
    numbers, scale = four_bits(weight)
    assert torch.equal(from_four_bits(numbers, scale, torch.bfloat16), weight)
    assert numbers.amin() == 0
    assert torch.equal(from_four_bits(*four_bits(torch.zeros(16, 32)), torch.float32), torch.zeros(16, 32))


@pytest.mark.usefixtures("torch_only")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_products_are_those_of_the_rounded_weights_whatever_stands_beside(
    kind: type[Linear], dtype: torch.dtype
) -> None:
    """Torch's kernels; ours: test_native.py."""
    weight, x = normal(272, 320), normal(17, 320, seed=1).to(dtype)
    x[3] = 0
    x[4, 7] = 300.0
    linear = kind(weight)
    found = linear(x)
    assert found.dtype == dtype
    expected = x.double() @ rounded(linear, weight).T
    fine = isinstance(linear, Int8Linear) and linear.integers and dtype == torch.float32
    error = (found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=1)
    assert error.max() < (2e-4 if fine else 4e-3)
    for rows in (1, 2, 3, 4, 5, 8):
        assert torch.equal(linear(x[:rows]), found[:rows])
    assert torch.equal(linear(x.roll(5, 0)), found.roll(5, 0))


@pytest.mark.usefixtures("torch_only")
def test_both_halves_of_an_activation_are_put_together_again() -> None:
    if not integer_products():
        pytest.skip("oneDNN has no flawless int8 product here")
    values = torch.arange(-STEPS, STEPS + 1, dtype=torch.float32)[: 64 * 1019].view(-1, 64)
    values[:, 0] = STEPS
    assert torch.equal(Int8Linear.of(torch.eye(64, dtype=torch.int8), torch.ones(64))(values), values)


def test_eight_bits_run_without_integer_products(monkeypatch: pytest.MonkeyPatch, torch_only: None) -> None:
    monkeypatch.setattr(quantized, "integer_products", lambda: False)
    weight, x = normal(64, 96), normal(5, 96, seed=1)
    linear = Int8Linear(weight)
    expected = (x.double() @ rounded(linear, weight).T).float()
    torch.testing.assert_close(linear(x), expected, atol=0.3, rtol=0.02)
    assert not linear.integers


@pytest.mark.parametrize("kernels", ["", pytest.param(WITHOUT, id="without")])
def test_a_shape_without_a_four_bit_kernel_gets_eight(kernels: str) -> None:
    with kernels_for(kernels):
        kind = kinds_for("int4", CPU)
        ours = native.on(CPU) is not None
        assert [kind(shape) for shape in ((64, 64), (64, 16))] == [Int4Linear, Int8Linear]
        assert kind((24, 64)) is (Int4Linear if ours else Int8Linear)


def test_a_device_without_kernels_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--quantize works only on cpu and cuda, not on mps"):
        kinds_for("int8", torch.device("mps"))


def test_a_device_that_cannot_run_four_bits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "int4_runs", lambda device_type: False)
    with pytest.raises(UsageError, match=r"int4 does not run on this cpu device: use --quantize int8"):
        kinds_for("int4", CPU)
    linear = quantized.four_bit_linear(*four_bits(normal(32, 64)), torch.float32)
    assert type(linear) is Linear


def test_groups_of_a_checkpoint_may_be_larger_than_those_of_kernels() -> None:
    numbers, scale = four_bits(normal(32, 256))
    scale = scale[:, ::4].contiguous()  # one for 128 inputs, as some w4a16 checkpoints have
    x = normal(3, 256, seed=1)
    found = quantized.four_bit_linear(numbers, scale, torch.float32)(x)
    expected = x.double() @ from_four_bits(numbers, scale, torch.float64).T
    torch.testing.assert_close(found.double(), expected, atol=0.05, rtol=0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return shapes.save(shapes.stock_target("e2b"), tmp_path_factory.mktemp("e2b"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("quantize", BOTH)
def test_a_row_does_not_depend_on_how_decoding_was_cut(
    folder: Path, quantize: Quantization, dtype: torch.dtype
) -> None:
    target = load_target(folder, CPU, dtype, quantize)
    kinds = {type(layer.feed_forward.down) for layer in target.layers} | {type(target.head)}
    assert kinds == {Int8Linear if quantize == "int8" else Int4Linear}
    assert target.rows.exact
    assert not exactness.differing(target, 40, cuts=("drafted",))


def test_a_quantized_drafter_drafts_as_before(folder: Path, tmp_path: Path) -> None:
    shapes.save(shapes.stock_drafter("e2b"), tmp_path)
    steps = []
    for quantize in (None, "int4"):
        target = load_target(folder, CPU, torch.float32)
        drafter = load_drafter(tmp_path, target, quantize)  # type: ignore[arg-type]
        cache = target.new_cache()
        _, hidden = target.prefill(torch.arange(3, 20), cache)
        steps.append(drafter.step(torch.tensor([5]), hidden, drafter.begin(target, cache, cache.length)))
        assert type(drafter.before) is (Int8Linear if quantize else Linear)
    assert torch.cosine_similarity(steps[0][2], steps[1][2]).item() > 0.999


def test_a_quantized_model_says_the_same_drafted_and_not() -> None:
    engine = open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32", quantize="int4"))
    for sampling in (Sampling(temperature=0, max_tokens=24), Sampling(seed=5, max_tokens=24)):
        said = []
        for drafting in (Drafting(0), Drafting(4), Drafting(7)):
            with closing(engine.stream(Request(ask("Count from 1 to 20."), sampling, drafting))) as events:
                said.append(collect(events))
        assert said[0].text
        assert said[1].speculation.drafted
        assert len({turn.text for turn in said}) == 1


@pytest.mark.parametrize("quantize", BOTH)
def test_random_weights_come_rounded(quantize: Quantization) -> None:
    """As large as rounded ones, of the same gain, and every row another."""
    linear = RandomWeights(CPU, torch.float32, quantize).linear("w", (512, 1024))
    like = (Int8Linear if quantize == "int8" else Int4Linear)(normal(512, 1024) / 32)
    assert type(linear) is type(like)
    assert linear.nbytes == like.nbytes
    weight = linear(torch.eye(1024)).T
    assert weight.std().item() == pytest.approx(1 / 32, rel=0.03)
    assert weight.unique(dim=0).shape[0] == 512


def test_the_checks_of_kernels_for_a_gpu_run_here() -> None:
    """Those of `python -m tests.gpu`, in small: eight-bit matmuls and attention in blocks, against float64."""
    for name in ("int8_matmul", "block_attention"):
        assert importlib.import_module(f"tests.gpu.kernels.{name}").check(CPU, True)["relative error"] < 1e-2
