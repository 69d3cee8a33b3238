"""Every module of the recipe can be imported: a stage that takes hours must not end in its first line."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATHS = [path.relative_to(ROOT) for path in (ROOT / "training").rglob("*.py") if path.name != "__main__.py"]


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_module_can_be_imported(path: Path) -> None:
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
