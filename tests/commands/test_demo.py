"""`gemma demo` runs every kind of step for real, whatever the environment sets, and copies its samples."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from gemma_cli.cli import run
from gemma_cli.commands import demo
from gemma_cli.media.samples import FOLDER, names


@pytest.mark.parametrize("step", demo.STEPS, ids=lambda step: " ".join(step.arguments[:2])[:30])
def test_each_step_is_a_command_line_that_its_command_takes(step: demo.Step) -> None:
    name, *rest = step.arguments
    module = import_module(f"gemma_cli.commands.{name.replace('-', '_')}")
    command: Any = typer.main.get_command(module.app)
    assert command.make_context(name, rest).params


def test_every_command_that_runs_the_model_is_shown() -> None:
    assert {step.arguments[0] for step in demo.STEPS} == {"chat", "transcribe", "translate", "describe-image", "bench"}


def test_the_demo_runs_pocket_whatever_the_environment_sets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [step for step in demo.STEPS if step.arguments[0] in ("chat", "describe-image")]
    story = ("Repeat: Anna sees the dog." if word == demo.STORY else word for word in short[1].arguments)
    monkeypatch.setattr(demo, "STEPS", (short[0], replace(short[1], arguments=tuple(story)), short[-1]))
    set_by_user = {"GEMMA_MODEL": "gone", "GEMMA_ENGINE": "http://127.0.0.1:9", "GEMMA_SYSTEM": "@gone"}
    for name, value in set_by_user.items():
        monkeypatch.setenv(name, value)
    assert run(["demo"]) == 0
    out = capsys.readouterr().out
    for line in ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10", "Anna sees the dog.", "A red circle and a blue square."):
        assert f"\n{line}\n" in out
    assert {name: os.environ[name] for name in set_by_user} == set_by_user


def test_samples_are_copied_into_a_new_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a" / "samples"
    assert run(["demo", "--save", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: (FOLDER / name).read_bytes() for name in names()
    }
    (folder / "star.png").write_bytes(b"mine")
    assert run(["demo", "--save", str(folder)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert (folder / "star.png").read_bytes() == b"mine"
