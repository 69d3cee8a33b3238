"""Row counts are measured once for a build of the kernels and the shapes of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.loading import saved_rules
from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.loading.saved_rules import row_rule
from gemma_cli.engines.local.model.row_rule import RowRule
from gemma_cli.engines.local.model.target import Target
from tests.engines.helpers import shapes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return load_target(shapes.save(shapes.stock_target("e2b"), tmp_path_factory.mktemp("e2b")), CPU, torch.float32)


class Measuring:
    """Counts measurements, and gives what they find."""

    def __init__(self, rule: RowRule) -> None:
        self.rule, self.times = rule, 0

    def __call__(self, target: Target) -> RowRule:
        self.times += 1
        return self.rule


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Measuring:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measuring = Measuring(RowRule((1, 2, 8), exact=True))
    monkeypatch.setattr(saved_rules, "measured", measuring)
    return measuring


def file(tmp_path: Path) -> Path:
    return tmp_path / "gemma-cli" / "row-counts.json"


def test_a_rule_is_measured_once(target: Target, measuring: Measuring) -> None:
    assert [row_rule(target) for _ in range(3)] == [measuring.rule] * 3
    assert measuring.times == 1


def test_a_rule_that_is_not_exact_is_measured_again(target: Target, measuring: Measuring) -> None:
    measuring.rule = RowRule((8,), exact=False)
    assert [row_rule(target) for _ in range(2)] == [measuring.rule] * 2
    assert measuring.times == 2


def test_other_circumstances_are_measured_on_their_own(
    target: Target, measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[Any, str, Any]] = [
        (native, "build_name", lambda device: "another"),
        (saved_rules, "processor", lambda: "another"),
        (torch, "get_num_threads", lambda: 77),
        (torch, "__version__", "0.0"),
        (saved_rules, "last_level_cache", lambda device: 0),
    ]
    for number, (holder, name, value) in enumerate(changes):
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, value)
            row_rule(target)
        assert measuring.times == number + 1
    row_rule(replace(target, layers=target.layers[:1]))
    row_rule(replace(target, dtype=torch.bfloat16))
    assert measuring.times == len(changes) + 2


@pytest.mark.parametrize(
    "content", ["", "[1]", "{", '{"KEY": []}', '{"KEY": [3, 2]}', '{"KEY": [0, 8]}', '{"KEY": [8, 99]}', '{"KEY": "x"}']
)
def test_a_broken_file_is_no_loss(target: Target, measuring: Measuring, tmp_path: Path, content: str) -> None:
    file(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    file(tmp_path).write_text(content.replace("KEY", saved_rules._key(target)))
    assert row_rule(target) == row_rule(target) == measuring.rule
    assert measuring.times == 1


def test_the_file_stays_small(target: Target, measuring: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(saved_rules.SAVED + 5):
        monkeypatch.setattr(saved_rules, "_key", lambda _, number=number: f"key{number}")
        row_rule(target)
    saved = saved_rules._read()
    assert len(saved) == saved_rules.SAVED
    assert "key0" not in saved


def test_a_rule_of_a_gpu_is_always_measured(measuring: Measuring) -> None:
    elsewhere: Any = SimpleNamespace(device=torch.device("meta"))
    row_rule(elsewhere)
    row_rule(elsewhere)
    assert measuring.times == 2
