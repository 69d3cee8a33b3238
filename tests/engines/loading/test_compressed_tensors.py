"""Checkpoints with weights in four bits, written here as compressed-tensors documents its pack-quantized format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.loading.checkpoint import SINGLE
from gemma_cli.engines.local.loading.load import load_target, read_config
from gemma_cli.engines.local.model.layers.quantized import Int4Linear
from tests.engines.helpers import exactness, shapes

CPU = torch.device("cpu")
GROUP = 32

W4A16: dict[str, Any] = {
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                **{"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP},
                **{"actorder": None, "block_structure": None, "dynamic": False, "observer": "minmax"},
            },
            "input_activations": None,
            "output_activations": None,
            "format": "pack-quantized",
        }
    },
    "format": "pack-quantized",
    "ignore": ["lm_head", "re:.*embed_tokens.*"],
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}


def packed(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """(what stands in the file by ending, the weights it stands for), by symmetric rounding to -7 .. 7."""
    out, width = weight.shape
    groups = weight.float().view(out, -1, GROUP)
    scale = (groups.abs().amax(-1) / 7).bfloat16()
    numbers = (groups / scale[..., None].float()).round().clamp(-8, 7).to(torch.int64)
    digits = (numbers + 8).view(out, width // 8, 8)
    words = sum(digits[..., place] << (4 * place) for place in range(8))
    signed = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
    stored = {"weight_packed": signed, "weight_scale": scale, "weight_shape": torch.tensor([out, width])}
    return stored, (numbers * scale[..., None].double()).view(out, width)


def is_packed(name: str, weight: Tensor) -> bool:
    """Products in the decoder's layers, as far as groups divide them; embeddings and what stands outside are not."""
    return ".layers." in name and weight.dim() == 2 and weight.shape[1] % GROUP == 0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A quantized checkpoint, and one of the weights it stands for."""
    torch.set_num_threads(1)
    plain = shapes.save(shapes.stock_target("e2b"), tmp_path_factory.mktemp("plain"))
    four = tmp_path_factory.mktemp("w4a16")
    weights, stored = load_file(plain / SINGLE), {}
    for name, weight in weights.items():
        if is_packed(name, weight):
            parts, weights[name] = packed(weight)
            stored |= {name.removesuffix("weight") + ending: part for ending, part in parts.items()}
            weights[name] = weights[name].float()
        else:
            stored[name] = weight
    save_file(stored, four / SINGLE, {"format": "pt"})
    save_file(weights, plain / SINGLE, {"format": "pt"})
    config = json.loads((plain / "config.json").read_text())
    (four / "config.json").write_text(json.dumps(config | {"quantization_config": W4A16}))
    return four, plain


def test_a_checkpoint_in_four_bits_gives_what_it_stands_for(pair: tuple[Path, Path]) -> None:
    ids = exactness.tokens(30)
    target, plain = (load_target(folder, CPU, torch.float32) for folder in pair)
    logits, expected = (exactness.decode(model, ids, 10, "3")[0] for model in (target, plain))
    assert torch.cosine_similarity(logits, expected).min().item() > 0.999
    assert all(type(layer.feed_forward.gate_up) is Int4Linear for layer in target.layers)
    assert target.layers[0].feed_forward.gate_up.nbytes < plain.layers[0].feed_forward.gate_up.nbytes / 5
    assert target.rows.exact
    assert not exactness.differing(target, 30, cuts=("drafted",))


def test_its_products_are_those_of_the_weights_it_stands_for(pair: tuple[Path, Path]) -> None:
    target = load_target(pair[0], CPU, torch.float32)
    weights = load_file(pair[1] / SINGLE)
    name = "model.language_model.layers.0.self_attn."
    fused = torch.cat([weights[f"{name}{part}_proj.weight"] for part in "qkv"])
    product = target.layers[0].attention.qkv(torch.eye(64))
    torch.testing.assert_close(product.T, fused, atol=0, rtol=2**-8)


def test_what_is_not_in_four_bits_can_be_rounded(pair: tuple[Path, Path]) -> None:
    target = load_target(pair[0], CPU, torch.float32, "int8")
    assert type(target.layers[0].feed_forward.down) is Int4Linear
    assert target.head.nbytes < 320 * 64 * 2


@pytest.mark.parametrize(
    "change",
    [
        {"format": "nvfp4-pack-quantized"},
        {"quant_method": "gptq"},
        {"config_groups": {}},
        {"config_groups": {"a": {"weights": {**W4A16["config_groups"]["group_0"]["weights"], "num_bits": 8}}}},
        {"config_groups": {"a": {"weights": {**W4A16["config_groups"]["group_0"]["weights"], "symmetric": False}}}},
        {"config_groups": {"a": {**W4A16["config_groups"]["group_0"], "input_activations": {"num_bits": 8}}}},
    ],
)
def test_other_formats_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    described = {"model_type": "gemma4", "quantization_config": W4A16 | change}
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"quantization_config\..*use the bfloat16 checkpoint with --quantize"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("ending", "value", "says"),
    [
        ("weight_scale", None, "weight_scale is missing"),
        ("weight_shape", torch.tensor([64, 96]), r"does not have the shape \[64, 64\]"),
        ("weight_packed", torch.zeros(64, 5, dtype=torch.int32), r"config\.json requires \[64, 8\]"),
        ("weight_scale", torch.ones(64, 3), "have an invalid shape"),
    ],
)
def test_a_damaged_weight_is_named(
    pair: tuple[Path, Path], tmp_path: Path, ending: str, value: Tensor | None, says: str
) -> None:
    weights = load_file(pair[0] / SINGLE)
    name = f"model.language_model.layers.0.self_attn.q_proj.{ending}"
    weights.pop(name)
    if value is not None:
        weights[name] = value
    save_file(weights, tmp_path / SINGLE, {"format": "pt"})
    (tmp_path / "config.json").write_text((pair[0] / "config.json").read_text())
    with pytest.raises(ModelError, match=says):
        load_target(tmp_path, CPU, torch.float32)
