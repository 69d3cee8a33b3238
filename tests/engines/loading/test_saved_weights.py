"""Quantized weights in a file: the same bits as without it, and never used when it is not as it was written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import UsageError
from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.loading.packed import saving
from gemma_cli.engines.local.loading.packed.ahead import save
from gemma_cli.engines.local.loading.packed.file import PackedFile
from gemma_cli.engines.local.loading.packed.saving import Found, Wanted, packed_weights
from gemma_cli.engines.local.model.layers.quantized import RoundedLinear
from gemma_cli.engines.local.native import stored
from gemma_cli.store.models import saved_weights
from tests.engines.helpers import exactness, shapes
from tests.engines.helpers.kernels import CAN_BUILD, copy_kernels

pytestmark = pytest.mark.skipif(not CAN_BUILD, reason="needs gcc")

CPU = torch.device("cpu")
FORMATS: tuple[Quantization, ...] = ("int8", "int4")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: shapes.save(shapes.stock_target(name), folder / name) for name in ("e2b", "26b-a4b")}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine on which no weights were saved yet: the folder that they go to."""
    copy_kernels(tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gemma-cli" / "weights"


def found(
    folder: Path, quantize: Quantization = "int4", dtype: torch.dtype = torch.float32, make: bool = True
) -> Found:
    return packed_weights(Wanted(folder.name, folder, quantize, dtype, make), worth=0)


def logits(
    folder: Path, quantize: Quantization, packed: PackedFile | None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    target = load_target(folder, CPU, dtype, quantize, packed=packed)
    return target.prefill(exactness.tokens(30), target.new_cache())[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantize", FORMATS)
@pytest.mark.parametrize("name", ["e2b", "26b-a4b"])
def test_the_same_bits_with_a_file_as_without(
    checkpoints: dict[str, Path], name: str, quantize: Quantization, dtype: torch.dtype
) -> None:
    folder = checkpoints[name]
    made, again = (found(folder, quantize, dtype) for _ in range(2))
    assert (made.made, again.made, again.notice) == (True, False, "")
    assert "saved" in made.notice
    alone = logits(folder, quantize, None, dtype)
    for each in (made, again):
        assert each.weights
        assert torch.equal(logits(folder, quantize, each.weights, dtype), alone)


def test_every_quantized_layer_comes_from_the_file(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is rounded, and nothing of what was rounded is read."""
    packed = {name: found(folder).weights for name, folder in checkpoints.items()}

    def rounded(*_: object) -> None:
        raise AssertionError("a weight was rounded")

    monkeypatch.setattr(RoundedLinear, "__init__", rounded)
    for name, folder in checkpoints.items():
        assert logits(folder, "int4", packed[name]).isfinite().all()


def test_a_copy_elsewhere_finds_the_file_and_other_weights_do_not(
    checkpoints: dict[str, Path], tmp_path: Path, fresh: Path
) -> None:
    first = found(checkpoints["e2b"])
    copy = shutil.copytree(checkpoints["e2b"], tmp_path / "copy")
    assert first.weights
    assert not found(copy).made
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    other = found(copy)
    assert other.made
    assert len(list(fresh.glob("*.weights"))) == 2
    assert torch.equal(logits(copy, "int4", other.weights), logits(copy, "int4", None))


def test_what_was_made_of_earlier_contents_is_removed(
    checkpoints: dict[str, Path], tmp_path: Path, fresh: Path
) -> None:
    folder = shutil.copytree(checkpoints["e2b"], tmp_path / "copy")
    assert found(folder).made
    assert found(folder, "int8").made
    shutil.copy(shapes.save(shapes.stock_target("e2b", seed=5), tmp_path / "other") / "model.safetensors", folder)
    assert found(folder).made
    assert sorted(one.quantize for one in saved_weights.saved_weights()) == ["int4", "int8"]
    assert len(list(fresh.glob("*.weights"))) == len(list(fresh.glob("*[0-9a-f].json"))) == 2


def test_a_blob_of_the_hub_is_known_by_its_name(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is its digest, so it is not read for one."""
    repository = tmp_path / "models--someone--gemma"
    folder, blob = repository / "snapshots" / "abc", repository / "blobs" / ("0" * 63 + "a")
    blob.parent.mkdir(parents=True)
    shutil.copytree(checkpoints["e2b"], folder)
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)

    def read(*_: object) -> None:
        raise AssertionError("the file was read for its digest")

    monkeypatch.setattr("gemma_cli.engines.local.loading.packed.contents._checksum", read)
    assert found(folder).made
    assert not found(folder).made


def test_files_are_private_and_nothing_else_is_left(checkpoints: dict[str, Path], fresh: Path) -> None:
    (fresh / "..").resolve().mkdir(parents=True, exist_ok=True)
    assert found(checkpoints["e2b"]).made
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    files = sorted(fresh.glob("*"))
    assert {file.suffix for file in files} == {".json", ".weights"}
    assert not any(file.name.startswith(saved_weights.MAKING) for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files if file.name != "contents.json")


def _flip(file: Path, at: int, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1 << bit
    file.write_bytes(content)


def _record(file: Path) -> Path:
    return file.with_suffix(".json")


def _edit(file: Path, change: Callable[[dict[str, object]], object]) -> None:
    record = json.loads(_record(file).read_text())
    change(record)
    _record(file).write_text(json.dumps(record))


def _moved(record: dict[str, object]) -> None:
    places = record["places"]
    assert isinstance(places, dict)
    next(iter(places.values()))[3] += 4096


def _linked(file: Path) -> None:
    file.rename(file.parents[1] / "elsewhere")
    file.symlink_to(file.parents[1] / "elsewhere")


def _piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut to half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "cut by a byte": lambda file: os.truncate(file, file.stat().st_size - 1),
    "empty": lambda file: os.truncate(file, 0),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "one bit at the start": lambda file: _flip(file, 0, 0),
    "one bit at the end": lambda file: _flip(file, file.stat().st_size - 1, 7),
    "one bit inside": lambda file: _flip(file, file.stat().st_size // 3, 3),
    "a symbolic link": _linked,
    "a pipe": _piped,
    "writable by all": lambda file: file.chmod(0o666),
    "a record that is writable by all": lambda file: _record(file).chmod(0o666),
    "a record that is a list": lambda file: _record(file).write_text("[1]"),
    "a record that is not text": lambda file: _record(file).write_bytes(b"\xff\xfe\0"),
    "a record of 200,000 brackets": lambda file: _record(file).write_text("[" * 200_000),
    "a record without a digest": lambda file: _edit(file, lambda record: record.pop("digest")),
    "a record that moves a weight": lambda file: _edit(file, _moved),
    "a record of another size": lambda file: _edit(file, lambda record: record.update(size=4096)),
    "somebody else's": lambda file: os.chown(file, 65_534, 65_534),
}
if os.geteuid():
    del DAMAGE["somebody else's"]  # only root can give files away


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_not_as_it_was_written_is_made_again(checkpoints: dict[str, Path], fresh: Path, name: str) -> None:
    folder = checkpoints["e2b"]
    assert found(folder).made
    (file,) = fresh.glob("*.weights")
    DAMAGE[name](file)
    again, then = found(folder), found(folder)
    assert again.made
    assert "have been saved again" in again.notice
    assert "\n" not in again.notice
    assert (then.made, then.notice) == (False, "")
    assert then.weights


@given(at=st.integers(0, 2**32), bit=st.integers(0, 7))
def test_no_single_bit_goes_unnoticed(at: int, bit: int) -> None:
    kernels = native.loaded()
    assert kernels
    content = torch.arange(3 * 2**18 + 77, dtype=torch.int64).to(torch.uint8)
    sound = kernels.checksum(content)
    content[at % len(content)] ^= 1 << bit
    assert kernels.checksum(content) != sound


def test_a_checksum_does_not_depend_on_threads_or_on_what_lies_behind() -> None:
    kernels = native.loaded()
    assert kernels
    content = torch.randint(0, 256, (5 * 2**20 + 4321,), dtype=torch.uint8)
    sound = kernels.checksum(content[:-100])
    content[-100:] ^= 255
    try:
        kernels.set_threads(3)
        assert kernels.checksum(content[:-100]) == sound
    finally:
        kernels.set_threads(torch.get_num_threads())
    assert kernels.checksum(content[:-101]) != sound


def test_a_folder_in_other_hands_is_not_used(checkpoints: dict[str, Path], fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    fresh.symlink_to(tmp_path / "theirs")
    refused = found(checkpoints["e2b"])
    assert refused.weights is None
    assert "symbolic link" in refused.notice
    assert not list((tmp_path / "theirs").iterdir())


def test_a_full_disk_is_left_alone(checkpoints: dict[str, Path], fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=saving.SPARE + 1000))
    refused = found(checkpoints["e2b"])
    assert refused.weights is None
    assert "--no-keep" in refused.notice
    assert not list(fresh.glob("*.weights"))


def test_a_disk_that_fills_meanwhile_leaves_nothing_behind(checkpoints: dict[str, Path], fresh: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        refused = found(checkpoints["e2b"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.weights is None
    assert "cannot be saved" in refused.notice
    assert {file.name for file in fresh.iterdir()} <= {"contents.json"}
    assert found(checkpoints["e2b"]).made


def test_what_a_killed_process_left_goes(checkpoints: dict[str, Path], fresh: Path) -> None:
    fresh.mkdir(parents=True, mode=0o700)
    left = fresh / f"{saved_weights.MAKING}1234.weights"
    left.write_bytes(b"half")
    assert found(checkpoints["e2b"]).made
    assert not left.exists()


def test_nothing_is_saved_unasked(checkpoints: dict[str, Path], fresh: Path) -> None:
    folder = checkpoints["e2b"]
    assert found(folder, make=False) == Found()
    assert not fresh.exists()
    assert found(folder).made
    assert found(folder, make=False).weights  # what is there already is read
    assert packed_weights(Wanted("e2b", folder, "int8", torch.float32)) == Found()  # too small to be worth it


def test_another_process_that_makes_it_is_not_disturbed(
    checkpoints: dict[str, Path], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "MAKING_S", 0.0)
    fresh.mkdir(parents=True, mode=0o700)
    with stored.locked(fresh, 0):
        assert found(checkpoints["e2b"]) == Found()


def test_a_file_of_another_shape_is_not_taken_for_a_weight(checkpoints: dict[str, Path]) -> None:
    weights = found(checkpoints["e2b"]).weights
    assert weights
    name = "layers.0.mlp.down_proj.weight"
    assert weights.linear(name, (64, 96))
    assert weights.linear(name, (96, 64)) is None
    assert weights.linear("layers.99.mlp.down_proj.weight", (64, 96)) is None


def test_saving_ahead_and_removing(checkpoints: dict[str, Path]) -> None:
    folder = str(checkpoints["e2b"])
    assert "saved" in save(folder, "int4")
    assert "already saved" in save(folder, "int4")
    (one,) = saved_weights.saved_weights()
    assert (one.model, one.quantize, one.size) == (folder, "int4", one.file.stat().st_size)
    assert saved_weights.remove_saved("another") == 0
    assert saved_weights.remove_saved(folder) == one.size
    assert not saved_weights.saved_weights()
    with pytest.raises(UsageError, match="no weights to save"):
        save("synthetic:e2b", "int4")


def test_kernels_of_other_lanes_look_for_another_file(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = native.loaded()
    assert kernels
    assert found(checkpoints["e2b"]).made
    monkeypatch.setattr(kernels, "lanes", kernels.lanes * 2)
    assert not found(checkpoints["e2b"], make=False).weights
