"""Reading tensors from a folder, and what is said when the folder is not what it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading.checkpoint import INDEX, SINGLE, Checkpoint, tensors
from gemma_cli.engines.local.model.layers.linear import Linear

CPU = torch.device("cpu")


def opened(folder: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    return Checkpoint(folder, CPU, dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(
        {
            "a.weight": torch.arange(6.0).view(2, 3),
            "b.weight": torch.arange(9.0).view(3, 3).bfloat16(),
            "a.order": torch.arange(4),
            "c.whole": torch.ones(2, 2, dtype=torch.int32),
        },
        tmp_path / SINGLE,
    )
    return tmp_path


def test_a_tensor_comes_in_the_asked_format(folder: Path) -> None:
    source = opened(folder, torch.bfloat16)
    assert source.take("a.weight", (2, 3)).dtype == torch.bfloat16
    assert source.take("a.weight", (2, 3), torch.float32).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert source.take("a.order", (4,), torch.int64).tolist() == [0, 1, 2, 3]


def test_a_taken_tensor_is_a_copy_and_a_table_is_not(folder: Path) -> None:
    """Weights lie in memory of their own; a table stays in its file, in the format it has there."""
    source = opened(folder, torch.float32)
    assert source.table("b.weight", (3, 3)).dtype == torch.bfloat16
    taken = source.take("a.weight", (2, 3))
    taken.zero_()
    assert source.take("a.weight", (2, 3)).sum() == 15


def test_fusing_stacks_rows(folder: Path) -> None:
    product = opened(folder).fused(("b.weight", "a.weight"), ((3, 3), (2, 3)))(torch.eye(3))
    assert product.T.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 1, 2], [3, 4, 5]]


@pytest.mark.skipif(native.loaded() is None, reason="needs gcc")
def test_fusing_bfloat16_copies_nothing(tmp_path: Path) -> None:
    """Every part is read where its file is mapped."""
    weights = {name: torch.randn(16, 32).bfloat16() for name in ("q.weight", "k.weight", "other.weight")}
    save_file(weights, tmp_path / SINGLE)
    source = opened(tmp_path, torch.bfloat16)
    linear = source.fused(("q.weight", "k.weight"), ((16, 32), (16, 32)))
    assert linear._scattered
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(SINGLE)]
    ranges = [range(*(int(end, 16) for end in fields[0].split("-"))) for fields in maps]
    for part in linear._scattered.parts:
        assert any(part.data_ptr() in mapped for mapped in ranges)
    x = torch.randn(3, 32).bfloat16()
    whole = Linear(torch.cat((weights["q.weight"], weights["k.weight"])))
    assert torch.equal(linear(x), whole(x))
    assert (linear.shape, linear.nbytes) == (whole.shape, whole.nbytes)


def test_what_was_not_taken_is_known(folder: Path) -> None:
    source = opened(folder)
    source.take("a.weight", (2, 3))
    assert source.untaken("a.") == ["a.order"]
    assert source.untaken("") == ["a.order", "b.weight", "c.whole"]


def test_a_prefix_stands_before_every_name(folder: Path) -> None:
    source = opened(folder)
    source.prefix = "a."
    assert source.take("weight", (2, 3)).shape == (2, 3)


def test_towers_get_their_tensors_by_prefix(folder: Path) -> None:
    found = tensors(folder, "a.")
    assert set(found) == {"weight", "order"}
    assert found["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_shards_are_one_checkpoint(folder: Path, tmp_path: Path) -> None:
    whole = tensors(folder, "")
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    names = sorted(whole)
    for number, part in enumerate((names[:2], names[2:]), 1):
        save_file({name: whole[name] for name in part}, sharded / f"model-{number}.safetensors")
    where = {name: f"model-{1 if name in names[:2] else 2}.safetensors" for name in names}
    (sharded / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    again = tensors(sharded, "")
    assert set(again) == set(whole)
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    (sharded / "model-2.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-2.safetensors is missing \(1 of 2 files are missing\)"):
        opened(sharded)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"tensor d\.weight is missing"):
        opened(folder).take("d.weight", (1,))


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"a\.weight has the shape \[2, 3\], but config\.json requires \[3, 2\]"):
        opened(folder).take("a.weight", (3, 2))


def test_a_quantized_tensor_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"c\.whole is stored as int32"):
        opened(folder).take("c.whole", (2, 2))


def test_a_folder_without_weights_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the checkpoint is incomplete"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all", b"\xff" * 64])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SINGLE).write_bytes(content)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        opened(tmp_path)


def test_a_truncated_file_is_named(folder: Path) -> None:
    file = folder / SINGLE
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        opened(folder)


def test_scales_without_groups_are_named(tmp_path: Path) -> None:
    """A damaged file may hold a tensor of any number of dimensions."""
    packed = {"weight_packed": torch.zeros(8, 4, dtype=torch.int32), "weight_shape": torch.tensor([8, 32])}
    for scale in (torch.zeros(8, 0), torch.zeros(8), torch.zeros(()), torch.zeros(8, 1, 1)):
        tensors = packed | {"weight_scale": scale}
        save_file({f"a.{name}": tensor for name, tensor in tensors.items()}, tmp_path / SINGLE)
        with pytest.raises(ModelError, match=r"the scales of tensor .* have an invalid shape"):
            opened(tmp_path).linear("a.weight", (8, 32))
