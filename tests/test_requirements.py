"""What pyproject.toml asks for, what CI installs of it, and what `gemma doctor` makes of other versions."""

from __future__ import annotations

import importlib.metadata
import os
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gemma_cli.commands.doctor_parts import packages

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = [Requirement(line) for line in PROJECT["dependencies"]]


def pinned() -> dict[str, str]:
    """The versions in CI's constraints, by canonical name."""
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


def test_ci_installs_a_fixed_version_of_everything_from_within_the_ranges() -> None:
    pins = pinned()
    development = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
    for wanted in WANTED + [each for each in development if each.name != PROJECT["name"]]:
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted


@pytest.mark.skipif("CI" not in os.environ, reason="only CI installs these versions")
def test_ci_runs_on_the_versions_it_fixed() -> None:
    pins = pinned()
    for wanted in WANTED:
        installed = importlib.metadata.version(wanted.name).partition("+")[0]
        assert installed == pins[canonicalize_name(wanted.name)], wanted.name


@pytest.mark.parametrize(
    ("name", "version", "works"),
    [
        ("transformers", "5.22.1", False),
        ("transformers", "5.22.2", True),
        ("transformers", "5.22.3", True),
        ("transformers", "5.23.0", False),
        ("transformers", "5.23.1", False),
        ("transformers", "5.24.0", True),
        ("transformers", "5.25.0", False),
        ("torch", "2.12.1", False),
        ("torch", "2.13.0+cpu", True),
        ("torch", "2.14.1+cu130", True),
        ("torch", "2.15.0", False),
    ],
)
def test_doctor_knows_the_versions_that_work(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, works: bool
) -> None:
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: PROJECT["dependencies"])
    monkeypatch.setattr(importlib.metadata, "version", lambda each: version if each == name else installed(each))
    check = next(check for check in packages.dependencies() if check.name == name)
    wanted = next(each for each in WANTED if each.name == name)
    assert (check.found, check.ok) == (version, works)
    assert check.remedy == (None if works else f"pip install '{name}{wanted.specifier}'")
