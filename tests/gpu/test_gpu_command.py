"""`python -m tests.gpu`: one step's failure or delay is its own, and what is done is written down at once."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.gpu import __main__ as command
from tests.gpu import plan, steps
from tests.gpu.runner import Step, last_object, run

BENCH = {
    "arms": [
        {"name": "plain", "tokens_per_second": {"median": 100.0}, "round_efficiency": 0.71},
        {"name": "3 drafts", "tokens_per_second": {"median": 250.0}, "round_efficiency": None},
    ],
    "speedup": 2.5,
    "ratio_to_peer": None,
    "texts_equal": True,
}


def step(name: str, code: str, limit_s: float = 20) -> Step:
    return Step(name, "", (sys.executable, "-c", code), limit_s)


def test_what_fails_does_not_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [
        step("good", f"print('loading'); print({json.dumps(json.dumps({'gb_per_s': 1.5, 'exact': True}))})"),
        step("bad", "print('{}'); raise SystemExit('it broke | badly')"),
        step("slow", "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"),
        step("silent", "pass"),
        step("bench", f"print({json.dumps(json.dumps(BENCH, indent=1))})"),
    ]
    wanted[2] = replace(wanted[2], limit_s=1.5)
    monkeypatch.setattr(plan, "steps", lambda device, small: wanted)
    assert command.main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [each["verdict"] for each in found["steps"]] == ["ok", "failed", "too long", "failed", "ok"]
    assert found["ok"] is False
    assert sum(each["seconds"] for each in found["steps"]) < 30
    table = (tmp_path / "gpu.md").read_text()
    assert "| good | ok | 0 | gb_per_s 1.5, exact yes |" in table
    assert "plain tokens/s 100, 3 drafts tokens/s 250, plain share of bandwidth 71%, speedup 2.5" in table
    assert "it broke" in table
    assert len(capsys.readouterr().out.splitlines()) == len(wanted)


def test_no_step_is_started_without_time_for_it(tmp_path: Path) -> None:
    assert run(step("late", "print('{}')"), tmp_path, 0.5).verdict == "no time"


def test_every_step_fits_and_is_one_that_there_is() -> None:
    for device, small in (("cuda", False), ("cpu", True)):
        found = plan.steps(device, small=small)
        assert len({each.name for each in found}) == len(found)
        for each in found:
            if each.command[2] == "tests.gpu.steps":
                assert each.command[3] in steps.STEPS
    assert last_object("no object") is None


@pytest.mark.parametrize("name", ["machine", "kernels"])
def test_steps_run_in_small(name: str) -> None:
    figures = steps.STEPS[name](steps.Options(torch.device("cpu"), small=True))
    assert figures
    json.dumps(figures)
