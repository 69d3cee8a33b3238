"""The layout of the code: modules that fit on a few screens, folders that fit on one, and names that exist."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for part in ("gemma_cli", "training") for path in (ROOT / part).rglob("*.py"))
LONGEST = 300
"""Lines of a module."""
FULLEST = 15
"""Modules in a folder, besides the file with its docstring."""
UNTYPED = {
    "gemma_cli.engines.local.triton_kernels.source.*": "Triton's dialect has types of its own",
}
"""Modules that mypy does not check, and why."""
OTHERS = {"module.py"}
"""File names that stand for any module."""
LONGER = {
    "gemma_cli/core/settings.py": "one table, which every way to set something is made from",
}
"""Modules that read best in one piece, and why."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_modules_are_short() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name for name, length in lengths.items() if length > LONGEST} == LONGER.keys()


def test_folders_are_small() -> None:
    tests = (path for path in (ROOT / "tests").rglob("*.py"))
    folders = Counter(name_of(path.parent) for path in (*MODULES, *tests) if path.name != "__init__.py")
    assert {folder: count for folder, count in folders.items() if count > FULLEST} == {}


@pytest.mark.parametrize("part", ["gemma_cli", "training"])
def test_types_are_checked(part: str) -> None:
    """In every module: none is left out, and no line is without saying which error it means."""
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert part in mypy["files"]
    assert mypy["strict"]
    assert not mypy.keys() & {"exclude", "ignore_errors", "disable_error_code"}
    ignored = [module for each in mypy["overrides"] if each.get("ignore_errors") for module in each["module"]]
    assert set(ignored) == UNTYPED.keys()
    for path in MODULES:
        assert not re.search(r"# mypy: ignore|# type: ignore(?!\[)", path.read_text(encoding="utf-8")), path


def test_a_module_that_another_refers_to_exists() -> None:
    """By its file name, in a docstring or a comment; those of transformers' packages have long names."""
    known = {path.name for path in MODULES}
    tests = {path.name for path in (ROOT / "tests").rglob("*.py")}
    for path in (*MODULES, *(ROOT / "gemma_cli").rglob("*.[ch]")):
        named = set(re.findall(r"(?<![\w.{*])([a-z_]+\.py)\b", path.read_text(encoding="utf-8")))
        assert not named - known - tests - OTHERS, f"{name_of(path)} refers to {sorted(named - known - tests - OTHERS)}"
