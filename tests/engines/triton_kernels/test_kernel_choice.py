"""Which kernels a GPU gets, and what happens where ours fail. No GPU and no Triton are needed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local import kernel_table, opening
from gemma_cli.engines.local.decoding.sampling import Sampler, StaticSampler
from gemma_cli.engines.local.kernel_table import KernelFailure
from gemma_cli.engines.local.triton_kernels import availability, ops
from gemma_cli.engines.local.triton_kernels.reference import Reference
from gemma_cli.engines.local.triton_kernels.self_check import Wrong, check
from tests.engines.helpers.gpu.simulated_gpu import CPU, simulated_gpu

GPU = torch.device("cuda", 0)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """An A100 with Triton, whose self-check says `verdict`."""
    found = SimpleNamespace(name="A100", major=8, minor=0, verdict="", checks=0)

    def checked(device: torch.device) -> str:
        found.checks += 1
        return found.verdict

    monkeypatch.delenv("GEMMA_KERNELS", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
    monkeypatch.setattr(availability.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(availability, "version", lambda: "triton-3.6.0-abc")
    monkeypatch.setattr(availability, "_check", checked)
    monkeypatch.setattr(availability, "_file", lambda: tmp_path / "triton.json")
    monkeypatch.setattr(availability, "_given_up", {})
    monkeypatch.setattr(availability, "_news", {})
    availability._why_not.cache_clear()
    yield found
    availability._why_not.cache_clear()


def again() -> str:
    """The verdict of another process."""
    availability._why_not.cache_clear()
    availability._news.clear()
    return availability.why_not(GPU)


def test_a_card_is_checked_once(card: SimpleNamespace) -> None:
    assert availability.why_not(torch.device("cuda")) == ""
    assert kernel_table.few_rows(GPU) is not None
    assert kernel_table.few_rows(GPU, torch.float16) is None
    assert again() == ""
    assert card.checks == 1
    assert kernel_table.notice(GPU) is None
    assert kernel_table.describe(GPU) == ("gemma's own kernels (triton-3.6.0-abc)", True)


def test_what_fails_its_check_is_left_to_torch_with_one_notice(card: SimpleNamespace) -> None:
    card.verdict = "their self-check failed: linear: relative error 1.0e+00"
    assert kernel_table.few_rows(GPU) is None
    assert "linear: relative error" in (kernel_table.notice(GPU) or "")
    assert again() == card.verdict
    assert card.checks == 1, "the verdict is kept for a day"
    assert kernel_table.notice(GPU) is None, "a second notice"
    assert kernel_table.describe(GPU) == (f"torch's kernels, which decode more slowly: {card.verdict}", False)
    saved = json.loads(availability._file().read_text())
    availability._file().write_text(json.dumps({key: (why, 0.0) for key, (why, _) in saved.items()}))
    card.verdict = ""
    assert again() == ""
    assert card.checks == 2


@pytest.mark.parametrize("content", ["", "[1]", '{"a": [1]}', '{"a": 3}'])
def test_a_damaged_record_is_made_anew(card: SimpleNamespace, content: str) -> None:
    availability._file().write_text(content)
    assert availability.why_not(GPU) == ""
    assert again() == ""
    assert card.checks == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda patch, card: patch.setenv("GEMMA_KERNELS", "torch"), "GEMMA_KERNELS=torch"),
        (lambda patch, card: setattr(card, "major", 7), "compute capability 7.0; they take 8.0"),
        (lambda patch, card: patch.setattr(availability.importlib.util, "find_spec", lambda _: None), "Triton is not"),
        (lambda patch, card: patch.setattr(torch.cuda, "is_available", lambda: False), "no NVIDIA GPU"),
    ],
)
def test_reasons(card: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, change: Any, why: str) -> None:
    change(monkeypatch, card)
    assert why in availability.why_not(GPU)
    assert kernel_table.few_rows(GPU) is None
    assert card.checks == 0


@pytest.mark.parametrize(
    ("code", "output", "why"),
    [
        (0, "", ""),
        (1, "warning\nlinear: relative error 1.0e+00\n", "their self-check failed: linear: relative error 1.0e+00"),
        (-11, "", "their self-check failed: exit code -11"),
    ],
)
def test_what_a_self_check_says(monkeypatch: pytest.MonkeyPatch, code: int, output: str, why: str) -> None:
    done = subprocess.CompletedProcess([], code, output, "")
    monkeypatch.setattr(availability.subprocess, "run", lambda *_, **__: done)
    assert availability._check(GPU) == why


def test_a_self_check_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("self_check", availability.CHECK_S)

    monkeypatch.setattr(availability.subprocess, "run", hang)
    assert "did not end" in availability._check(GPU)


def test_the_self_check_finds_what_is_wrong() -> None:
    """Every function, broken in turn: a wrong value, and a row that depends on its neighbours."""
    with simulated_gpu(Reference()):
        errors = check(ops.functions, CPU, size=64)
    assert {name.partition(",")[0] for name in errors} >= set(vars(ops.Functions)) & {"linear", "turn", "attend"}
    for name in ("linear", "gated_linear", "turn", "attend", "add_norms", "add_experts"):
        for broken in (lambda x: x * 1.1, lambda x: x + 0.0001 * len(x)):

            class Broken(Reference):
                pass

            right = getattr(Reference, name)

            def wrong(self: Any, *arguments: Any, right: Any = right, broken: Any = broken) -> Any:
                found = right(self, *arguments)
                return tuple(map(broken, found)) if isinstance(found, tuple) else broken(found)

            setattr(Broken, name, wrong)
            with pytest.raises(Wrong, match=name.removeprefix("add_") if "experts" in name else name):
                check(Broken(), CPU, size=64)


def test_a_model_whose_kernels_fail_is_loaded_again_without_them(
    card: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def load(spec: EngineSpec) -> Any:
        tried.append(kernel_table.few_rows(GPU) is not None)
        if tried[-1]:
            raise KernelFailure("the Triton kernel turn failed: OutOfResources: shared memory")
        return "engine"

    monkeypatch.setattr(opening, "_open", load)
    monkeypatch.setattr(opening.load, "choose_device", lambda name: GPU)
    assert opening.open_local(EngineSpec("pocket", device="cuda")) == "engine"
    assert tried == [True, False]
    assert "kernel turn failed" in (kernel_table.notice(GPU) or "")


def test_a_choice_whose_kernel_fails_is_torch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Reference):
        calls = 0

        def choose(self, *arguments: Any) -> Any:
            self.calls += 1
            raise RuntimeError("no kernel image is available")

    logits, positions = torch.randn(3, 400) * 4, torch.arange(7, 10)
    for sampling in (Sampling(temperature=0.0), Sampling(seed=3), Sampling(top_k=0)):
        sampler, failing = StaticSampler(sampling, (5,), CPU), Failing()
        sampler.set(sampling)
        with simulated_gpu(failing):
            chosen = [sampler.choose(logits, positions) for _ in range(2)]
        assert all(torch.equal(each, Sampler(sampling, (5,)).choose(logits, positions)) for each in chosen)
        assert failing.calls == (sampling.top_k != 0 or sampling.temperature == 0), "it is tried once"


def test_memory_that_runs_out_is_no_failure_of_a_kernel() -> None:
    class Full(Reference):
        def norm(self, *arguments: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with simulated_gpu(Full()), pytest.raises(torch.OutOfMemoryError):
        ops.functions.norm(torch.ones(1, 4, dtype=torch.bfloat16), torch.ones(4), 1e-6)
