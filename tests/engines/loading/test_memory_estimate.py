"""What a model will take is known before anything of it is read, to the byte; what does not fit is refused with what
would."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import OutOfMemory
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.loading import load
from gemma_cli.engines.local.loading.build import build_drafter, build_target
from gemma_cli.engines.local.loading.checkpoint import Checkpoint, decoder_prefix
from gemma_cli.engines.local.loading.config import read_config
from gemma_cli.engines.local.loading.memory import estimate as counted
from gemma_cli.engines.local.loading.memory import fit as memory_fit
from gemma_cli.engines.local.loading.memory.estimate import Plan, needs, plan_folder, plan_release, process
from gemma_cli.engines.local.loading.memory.working import ROOM
from gemma_cli.engines.local.model.cache import SLACK
from gemma_cli.engines.local.model.layers.quantized import of_drafter
from gemma_cli.store.models import machine
from tests.engines.helpers import shapes

CPU = torch.device("cpu")
POCKET = Path(__file__).parents[3] / "gemma_cli" / "pocket" / "pocket"


class Weighed(Checkpoint):
    """Adds up what is really made."""

    made = 0

    def take(self, *arguments: Any) -> Any:
        tensor = super().take(*arguments)
        self.made += tensor.nbytes
        return tensor

    def fused(self, *arguments: Any) -> Any:  # linear and tied go through it
        product = super().fused(*arguments)
        self.made += product.nbytes
        return product

    def linears(self, *arguments: Any) -> Any:
        products = super().linears(*arguments)
        self.made += sum(product.nbytes for product in products)
        return products


def made(folder: Path, assistant: Path, dtype: torch.dtype, quantize: Any) -> int:
    """Bytes of weights that loading makes on a CPU, beside what stays mapped."""
    source = Weighed(folder, CPU, dtype, quantize)
    source.prefix = decoder_prefix(source)
    target = build_target(read_config(folder).decoder(), source, CPU, dtype)
    small = Weighed(assistant, CPU, dtype, of_drafter(quantize))
    build_drafter(read_config(assistant).drafter(), small, target)
    return source.made + small.made


@pytest.fixture(scope="module", params=shapes.NAMES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    target = shapes.save(shapes.stock_target(request.param), folder / "target")
    return target, shapes.save(shapes.stock_drafter(request.param), folder / "target-assistant")


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_weights_take_what_was_foretold(pair: tuple[Path, Path], quantize: Any) -> None:
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.bfloat16)[: 1 if quantize else 2]:
        foretold = needs(plan_folder(*pair, CPU, dtype, quantize)).weights
        assert foretold == made(*pair, dtype, quantize)


def test_keys_take_what_was_foretold() -> None:
    target = load.load_target(POCKET, CPU, torch.float32)
    cache = target.new_cache(ROOM)
    rings = cache.snapshot().nbytes
    keys = sum(slots.keys.nbytes + slots.values.nbytes for slots in cache.layers.values())
    assert needs(plan_folder(POCKET, None, CPU, torch.float32, None)).keys == keys + 2 * rings


@pytest.mark.parametrize(("alias", "published"), [("e2b", 4.6), ("12b", 11.9), ("26b-a4b", 25.2), ("31b", 30.7)])
def test_released_models_take_two_bytes_a_parameter(alias: str, published: float) -> None:
    plan = replace(plan_release(alias, CPU, torch.bfloat16), drafter=None)
    tables = plan.target.ple_vocab * plan.target.ple * len(plan.target.layers) * 2  # mapped
    assert needs(plan).weights + tables == pytest.approx(published * 2e9, rel=0.015)


def test_a_gpu_holds_the_tables_too() -> None:
    on_cpu, on_gpu = (
        needs(Plan(replace(plan_release("e2b", CPU, torch.bfloat16).target), None, device, torch.bfloat16))
        for device in (CPU, torch.device("cuda"))
    )
    arch = plan_release("e2b", CPU, torch.bfloat16).target
    tables = arch.ple_vocab * arch.ple * len(arch.layers) * 2
    assert on_gpu.weights - on_cpu.weights == tables  # the embedding is the head there
    rows = sum(layer.kv_heads * layer.head_dim for layer in arch.layers if layer.owns_kv and not layer.sliding)
    rings = sum(layer.kv_heads * layer.head_dim for layer in arch.layers if layer.owns_kv and layer.sliding)
    assert on_gpu.keys == 2 * 2 * (rows * ROOM + 3 * rings * (arch.window + SLACK))
    assert on_cpu.keys == 2 * on_gpu.keys


GB = 10**9


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, torch_only: None) -> Any:
    """So many GB free, on a CPU that runs bfloat16; without our kernels, whose four bits take a tenth less."""
    monkeypatch.setattr(memory_fit, "bfloat16_on_cpu", lambda: "works")
    monkeypatch.setattr(counted, "process", lambda: 0)
    return lambda size: monkeypatch.setattr(machine, "available", lambda: round(size * GB))


@pytest.mark.parametrize(
    ("alias", "changes", "size", "remedy"),
    [
        ("e4b", {"dtype": torch.float32}, 12, "use --dtype bfloat16"),
        ("e4b", {}, 9.87, "use --assistant off"),
        ("e4b", {}, 9, "use --quantize int8"),
        ("e4b", {}, 5, "use --quantize int4"),
        ("31b", {}, 36, "use --quantize int4"),
        ("31b", {}, 20, "use --model 26b-a4b --quantize int4 (gemma models pull 26b-a4b downloads 51.6 GB)"),
        ("31b", {"quantize": "int4"}, 10.1, "use --model e4b (gemma models pull e4b downloads 16 GB)"),
        ("12b", {}, 3, "use --model e2b --quantize int4 (gemma models pull e2b downloads 10.2 GB)"),
        ("e2b", {}, 1, "use --model pocket"),
    ],
)
def test_the_smallest_change_that_fits_is_named(
    there: Any, alias: str, changes: dict[str, Any], size: float, remedy: str
) -> None:
    there(size)
    plan = replace(plan_release(alias, CPU, torch.bfloat16), **changes)
    with pytest.raises(OutOfMemory) as caught:
        memory_fit.find(alias, plan)
    said = str(caught.value)
    assert said.startswith(f"{alias} needs ")
    assert f"but only {size:.3g} GB is free (" in said
    assert said.endswith(remedy)
    assert caught.value.exit_code == 1


def test_what_is_named_fits(there: Any) -> None:
    plan = plan_release("e4b", CPU, torch.bfloat16, "int8")
    there((needs(plan).total + 1) / GB)
    memory_fit.find("e4b", plan)
    there((needs(plan).total - 1) / GB)
    with pytest.raises(OutOfMemory, match="--assistant off"):
        memory_fit.find("e4b", plan)


def test_nothing_is_read_of_what_does_not_fit(there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: Any) -> None:
        raise AssertionError("a weight was read")

    there(0.05)
    monkeypatch.setattr(Checkpoint, "_stored", loaded)
    with pytest.raises(OutOfMemory, match=r"^pocket needs 0\.\d+ GB on cpu, but only 0\.05 GB is free"):
        open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))
    with pytest.raises(OutOfMemory, match=r"^synthetic:31b needs 71"):
        open_engine(EngineSpec(model="synthetic:31b", device="cpu", dtype="bfloat16"))


def test_pocket_takes_little() -> None:
    assert needs(plan_folder(POCKET, None, CPU, torch.float32, None)).total < process() + 72 * 2**20


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    return tmp_path


def test_a_container_has_what_its_limit_leaves(group: Path) -> None:
    whole = machine.available()
    assert 0 < whole <= machine.memory()
    (group / "memory.max").write_text("3000000\n")
    (group / "memory.current").write_text("2500000\n")
    (group / "memory.stat").write_text("anon 1000000\ninactive_file 400000\nactive_file 100000\n")
    assert machine.available() == 900_000
    (group / "memory.max").write_text("max\n")
    assert math.isclose(machine.available(), whole, rel_tol=0.5)


def test_what_fits_is_listed(there: Any) -> None:
    there(12)
    assert memory_fit.fitting(CPU) == ["e2b", "e4b", "12b --quantize int4"]
    there(30)
    assert memory_fit.fitting(CPU) == ["e2b", "e4b", "12b", "26b-a4b --quantize int8", "31b --quantize int4"]
    there(0)
    assert memory_fit.fitting(CPU) == []


def test_off_the_cpu_a_tied_head_is_the_table(pair: tuple[Path, Path]) -> None:
    meta = torch.device("meta")
    source = Checkpoint(pair[0], meta, torch.bfloat16)
    source.prefix = decoder_prefix(source)
    table = source.table("embed_tokens.weight", (shapes.VOCAB, 64))
    assert source.tied("embed_tokens.weight", table)._weight._base is table
