"""docs/api.md shows what its programs print, names all that is public, and `import gemma_cli` costs nothing."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gemma_cli
from gemma_cli import api
from tests.cli.helpers.command import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(?P<program>.*?)^```\n\n```text\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_each_program_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = list(BLOCK.finditer(PAGE))
    assert len(blocks) == PAGE.count("```python")
    names: dict[str, Any] = {}
    for block in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block["program"], "docs/api.md", "exec"), names)
        assert printed.getvalue() == block["output"]


def test_the_page_names_everything_that_is_public() -> None:
    assert not [name for name in api.__all__ if not re.search(rf"\b{name}\b", PAGE)]
    assert all(getattr(gemma_cli, name) is getattr(api, name) for name in api.__all__)
    assert set(api.__all__) <= set(dir(gemma_cli))


def test_the_stub_declares_exactly_the_public_names() -> None:
    stub = (ROOT / "gemma_cli" / "__init__.pyi").read_text(encoding="utf-8")
    assert re.findall(r"^from gemma_cli\.api import \w+ as (\w+)$", stub, re.MULTILINE) == api.__all__


@pytest.mark.parametrize("name", ["nothing", "Journal", "Path", "__wrapped__"])
def test_other_names_are_not_there(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(gemma_cli, name)


def test_importing_the_package_imports_nothing_else() -> None:
    program = (
        "import sys; before = set(sys.modules); import gemma_cli; from gemma_cli import core; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    found = [name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names]
    assert found == ["gemma_cli", "gemma_cli.core"]
