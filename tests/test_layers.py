"""Imports point down: the contracts of pyproject.toml hold, and refuse an import up from every layer."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of the package, those under TYPE_CHECKING included."""
    return grimp.build_graph("gemma_cli", cache_dir=None)


def kept(contract: dict[str, Any], graph: grimp.ImportGraph) -> bool:
    options = {name: value for name, value in contract.items() if name not in ("name", "type")}
    options["exhaustive"] = str(contract["exhaustive"])  # as import-linter's own reader gives it
    session = {"root_packages": ["gemma_cli"]}
    return LayersContract(contract["name"], session, options).check(deepcopy(graph), verbose=False).kept


def layers(contract: dict[str, Any]) -> list[list[str]]:
    """The modules of each layer, top first."""
    (container,) = contract["containers"]
    return [[f"{container}.{room.strip()}" for room in layer.split("|")] for layer in contract["layers"]]


def upward(contract: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every (importer, imported) that the contract must refuse: up, and between neighbours of one layer."""
    for above, below in combinations(layers(contract), 2):
        yield from ((importer, imported) for importer in below for imported in above)
    for neighbours in layers(contract):
        yield from ((one, other) for one in neighbours for other in neighbours if one != other)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_imports_point_down(contract: dict[str, Any], graph: grimp.ImportGraph) -> None:
    assert kept(contract, graph)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_an_import_up_is_refused_from_every_layer(contract: dict[str, Any], graph: grimp.ImportGraph) -> None:
    planted = list(upward(contract))
    assert len(planted) > 40
    for importer, imported in planted:
        changed = deepcopy(graph)
        changed.add_import(importer=importer, imported=imported, line_number=1, line_contents="planted")
        assert not kept(contract, changed), f"{importer} may import {imported}"


def test_modules_import_each_other_in_no_circle(graph: grimp.ImportGraph) -> None:
    """Within a room too, where the layers say nothing."""
    waiting = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while free := {module for module, imports in waiting.items() if not imports}:
        waiting = {module: imports - free for module, imports in waiting.items() if module not in free}
    assert not waiting, f"these import each other, or modules that do: {sorted(waiting)}"
