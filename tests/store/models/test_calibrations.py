"""Saved calibrations of word times: found by their checkpoint, and no loss if broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma_cli.core.events import Calibration
from gemma_cli.store.models import calibrations

FOUND = Calibration((1, 3), 0.065, 0.8)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(calibrations.paths, "cache_dir", lambda: tmp_path)
    calibrations.save("google/gemma-4-E2B-it", "weights", FOUND)
    (one,) = calibrations.saved_calibrations()
    return one.file


def test_a_calibration_belongs_to_its_weights(file: Path) -> None:
    assert calibrations.find("weights") == FOUND
    assert calibrations.find("other weights") is None
    assert calibrations.find("") is None
    later = Calibration((0,), 0.1, 0.5)
    calibrations.save("google/gemma-4-E2B-it", "weights", later)
    assert [one.calibration for one in calibrations.saved_calibrations()] == [later]


def test_it_goes_with_its_model(file: Path) -> None:
    calibrations.save("pocket", "others", FOUND)
    calibrations.remove_calibrations("e2b")
    assert [one.model for one in calibrations.saved_calibrations()] == ["pocket"]
    assert not file.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"heads": []},
        {"heads": [-1]},
        {"heads": ["one"]},
        {"heads": 3},
        {"offset_s": float("nan")},
        {"offset_s": 1e400},
        {"offset_s": 30},
        {"mass": 0},
        {"mass": None},
    ],
)
def test_a_broken_file_is_no_calibration(file: Path, change: dict[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert calibrations.find("weights") is None
    assert calibrations.saved_calibrations() == []


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "[" * 100_000])
def test_what_is_no_object_is_no_calibration(file: Path, content: str) -> None:
    file.write_text(content)
    assert calibrations.find("weights") is None
