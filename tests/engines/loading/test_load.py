"""Folders that hold a model, and folders that do not; which device and which number format."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from gemma_cli.core.errors import GemmaError, InputError, ModelError, UsageError
from gemma_cli.engines.local import device as devices
from gemma_cli.engines.local.loading.checkpoint import SINGLE
from gemma_cli.engines.local.loading.load import choose_device, choose_dtype, load_drafter, load_target, read_config
from gemma_cli.engines.local.loading.overflow import TRIED, refuse_overflow
from tests.engines.helpers import exactness, shapes
from tests.engines.helpers.kernels import WITHOUT, kernels_for

CPU = torch.device("cpu")


def read(folder: Path) -> torch.Tensor:
    """The last logits of a few tokens, from whatever the folder holds."""
    torch.set_num_threads(1)
    target = load_target(folder, CPU, torch.float32)
    return target.prefill(exactness.tokens(30), target.new_cache())[0]


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / SINGLE)
    change(weights)
    save_file(weights, folder / SINGLE, {"format": "pt"})


@pytest.fixture
def e2b(tmp_path: Path) -> Path:
    return shapes.save(shapes.stock_target("e2b"), tmp_path / "e2b")


def test_a_sharded_checkpoint_gives_the_same_model(tmp_path: Path, e2b: Path) -> None:
    sharded = shapes.save(shapes.stock_target("e2b"), tmp_path / "sharded", max_shard_size="200KB")
    assert len(list(sharded.glob("*.safetensors"))) > 3
    assert torch.equal(read(sharded), read(e2b))


def test_a_decoder_saved_on_its_own_runs(tmp_path: Path) -> None:
    stock = shapes.stock_text_only("31b")
    folder = shapes.save(stock, tmp_path)
    assert read_config(folder).model_type == "gemma4_text"
    with torch.inference_mode():
        expected = stock(input_ids=exactness.tokens(30)[None]).logits[0, -1:]
    torch.testing.assert_close(read(folder), expected, atol=5e-5, rtol=0)


def test_a_bfloat16_checkpoint_runs_in_float32(tmp_path: Path) -> None:
    stock = shapes.stock_target("e2b").bfloat16()
    folder = shapes.save(stock, tmp_path)
    wide = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = wide(input_ids=exactness.tokens(30)[None]).logits[0, -1:]
    torch.testing.assert_close(read(folder), expected, atol=5e-5, rtol=0)


def test_projections_that_shared_layers_do_not_use_may_lie_in_the_file(e2b: Path) -> None:
    expected = read(e2b)
    name = "model.language_model.layers.9.self_attn.k_proj.weight"
    edit_weights(e2b, lambda weights: weights.update({name: torch.ones(32, 64)}))
    assert torch.equal(read(e2b), expected)


def test_a_missing_tensor_is_named_with_its_folder(e2b: Path) -> None:
    name = "model.language_model.layers.3.mlp.up_proj.weight"
    edit_weights(e2b, lambda weights: weights.pop(name))
    with pytest.raises(ModelError) as caught:
        read(e2b)
    assert name in str(caught.value)
    assert str(e2b) in str(caught.value)


def test_an_unexpected_tensor_is_named(e2b: Path) -> None:
    name = "model.language_model.layers.3.mlp.extra.weight"
    edit_weights(e2b, lambda weights: weights.update({name: torch.ones(2)}))
    with pytest.raises(
        ModelError, match=r"does not describe the tensor model\.language_model\.layers\.3\.mlp\.extra\.weight"
    ):
        read(e2b)


def test_a_config_of_another_size_is_told_from_the_weights(e2b: Path) -> None:
    config = json.loads((e2b / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 128
    (e2b / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"has the shape \[96, 64\], but config\.json requires \[128, 64\]"):
        read(e2b)


def test_a_checkpoint_without_a_decoder_is_refused(e2b: Path) -> None:
    save_file({"model.vision_tower.x": torch.ones(1)}, e2b / SINGLE, {"format": "pt"})
    with pytest.raises(ModelError, match="the checkpoint has no text decoder"):
        read(e2b)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, InputError, "no config.json"),
        ("{", ModelError, "config.json: the file is not valid JSON (Expecting property name"),
        ("[1]", ModelError, "config.json: the file has no JSON object"),
        ('{"model_type": "llama"}', ModelError, 'model_type "llama"'),
        ('{"architectures": ["Gemma4ForCausalLM"]}', ModelError, "model_type null"),
        (
            '{"model_type": "gemma4", "text_config": {"num_hidden_layers": "six"}}',
            ModelError,
            'config.json: text_config.num_hidden_layers is "six", but a whole number from 1 to 256 is required',
        ),
        ('{"model_type": "gemma4", "text_config": {"num_hidden_layers": 0}}', ModelError, "config.json"),
        (
            '{"model_type": "gemma4", "quantization_config": {"quant_method": "awq"}}',
            ModelError,
            'quant_method is "awq"',
        ),
        ('{"model_type": "gemma4", "auto_map": {"AutoConfig": "evil.Config"}, "text_config": 3}', ModelError, "is 3"),
    ],
)
def test_a_folder_that_is_no_gemma_says_so_in_one_line(
    tmp_path: Path, content: str | None, error: type[GemmaError], says: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(error) as caught:
        read_config(tmp_path)
    assert type(caught.value) is error
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_does_not_exist_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_config(tmp_path / "gone")


def test_code_in_a_checkpoint_is_never_run(e2b: Path) -> None:
    (e2b / "evil.py").write_text("raise SystemExit('ran')")
    edit_config(e2b, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    assert read_config(e2b).model_type == "gemma4"
    assert read(e2b).shape == (1, shapes.VOCAB)


def test_target_and_drafter_are_not_mistaken_for_each_other(tmp_path: Path, e2b: Path) -> None:
    drafter = shapes.save(shapes.stock_drafter("e2b"), tmp_path / "drafter")
    with pytest.raises(InputError, match="is a drafter"):
        load_target(drafter, CPU, torch.float32)
    target = load_target(e2b, CPU, torch.float32)
    with pytest.raises(InputError, match="is not a drafter"):
        load_drafter(e2b, target)


@pytest.mark.parametrize(("other", "says"), [("e4b", "key heads"), ("12b", "key heads"), ("31b", "key heads")])
def test_a_drafter_of_another_model_is_refused(tmp_path: Path, e2b: Path, other: str, says: str) -> None:
    folder = shapes.save(shapes.stock_drafter(other), tmp_path / "drafter")
    with pytest.raises(InputError, match=f"belongs to another model: the .* {says}"):
        load_drafter(folder, load_target(e2b, CPU, torch.float32))


def test_devices_that_are_not_there_are_refused() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name, says in (
        ("gpu", "unknown device"),
        ("cuda:99", "not available"),
        ("xla", "auto, cpu, cuda"),
        ("", "device"),
    ):
        with pytest.raises(UsageError, match=says):
            choose_device(name)


@pytest.fixture
def sized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bytes of a folder that seems to hold so many of weights, on a CPU whose verdict on bfloat16 is given."""

    def make(size: int, verdict: str) -> int:
        with (tmp_path / SINGLE).open("wb") as file:
            file.truncate(size)
        monkeypatch.setattr(devices, "bfloat16_on_cpu", lambda: verdict)
        return devices.weight_bytes(tmp_path)

    monkeypatch.delenv(devices.CAP[0], raising=False)
    monkeypatch.setattr(devices.os, "environ", dict(devices.os.environ))
    return make


@pytest.mark.parametrize(
    ("name", "size", "verdict", "expected"),
    [
        ("auto", 10, "works", torch.float32),
        ("auto", devices.LARGE, "works", torch.bfloat16),
        ("auto", devices.LARGE, "works capped", torch.bfloat16),
        ("auto", devices.LARGE, "crashes", torch.float32),
        ("float32", devices.LARGE, "works", torch.float32),
        ("bfloat16", 10, "works", torch.bfloat16),
    ],
)
def test_the_format_on_a_cpu(sized: Any, name: str, size: int, verdict: str, expected: torch.dtype) -> None:
    assert choose_dtype(name, CPU, sized(size, verdict)) == expected
    capped = verdict == "works capped" and expected == torch.bfloat16
    assert (devices.CAP[0] in devices.os.environ) == capped


def test_bfloat16_is_refused_where_it_crashes(sized: Any) -> None:
    with pytest.raises(UsageError, match="crashes on this CPU; use --dtype float32"):
        choose_dtype("bfloat16", CPU, sized(10, "crashes"))
    with pytest.raises(UsageError, match="unknown data type 'fp8'"):
        choose_dtype("fp8", CPU, sized(10, "works"))


@pytest.mark.parametrize(
    ("survives", "verdict", "tries"),
    [((True,), "works", 1), ((False, True), "works capped", 2), ((False, False), "crashes", 2)],
)
def test_the_verdict_on_bfloat16_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: tuple[bool, ...], verdict: str, tries: int
) -> None:
    seen: list[dict[str, str]] = []

    def run(command: list[str], env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        seen.append(env)
        return subprocess.CompletedProcess(command, 0 if survives[len(seen) - 1] else -4)

    monkeypatch.delenv(devices.CAP[0], raising=False)
    monkeypatch.setattr(devices.paths, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(devices.subprocess, "run", run)
    assert [devices.bfloat16_on_cpu() for _ in range(3)] == [verdict] * 3
    assert [env.get(devices.CAP[0]) for env in seen] == [None, devices.CAP[1]][:tries]


def test_a_broken_record_of_verdicts_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.paths, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(devices, "_try_bfloat16", lambda: "works")
    (tmp_path / "bfloat16.json").write_text("{")
    assert devices.bfloat16_on_cpu() == "works"
    assert list(json.loads((tmp_path / "bfloat16.json").read_text()).values()) == ["works"]


def test_the_probe_itself_runs() -> None:
    """Capped, it survives on every x86 machine with AVX-512 and on those without."""
    assert devices._survives(dict([devices.CAP]))


@pytest.mark.parametrize(
    ("capability", "name", "expected"),
    [
        ((7, 5), "auto", torch.float16),
        ((7, 5), "float16", torch.float16),
        ((7, 5), "float32", torch.float32),
        ((8, 0), "auto", torch.bfloat16),
        ((9, 0), "float16", torch.float16),
        ((12, 0), "bfloat16", torch.bfloat16),
    ],
)
def test_the_format_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str, expected: torch.dtype
) -> None:
    """By what it has instructions for; torch also says yes where bfloat16 is emulated."""
    on_a_gpu(monkeypatch, capability)
    assert choose_dtype(name, torch.device("cuda"), devices.LARGE) == expected


def test_bfloat16_is_refused_on_a_gpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_gpu(monkeypatch, (7, 5))
    with pytest.raises(
        UsageError, match=r"Tesla T4 cannot compute in bfloat16 .*7\.5.* use --dtype float16 or float32"
    ):
        choose_dtype("bfloat16", torch.device("cuda"), devices.LARGE)
    with pytest.raises(UsageError, match="--dtype float16 works only on a GPU; use --dtype bfloat16 or float32"):
        choose_dtype("float16", CPU, devices.LARGE)


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")


def test_a_model_that_overflows_in_float16_is_refused(tmp_path: Path) -> None:
    """Any of the tokens that are tried; here the largest embedding that float16 holds, which is then scaled."""
    with kernels_for(WITHOUT):
        target = load_target(shapes.save(shapes.stock_target("12b"), tmp_path), CPU, torch.float16)
        refuse_overflow(target)
        target.embedding = target.embedding.clone()
        target.embedding[TRIED // 2 * (shapes.VOCAB // TRIED)] = 60_000
        with pytest.raises(ModelError, match="too large for float16 on cpu: use --dtype float32"):
            refuse_overflow(target)
