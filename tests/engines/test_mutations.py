"""A small share of the long trials: python -m tests.soak configurations templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_cli.core.errors import GemmaError
from tests.soak.hostile.configurations import Pocket, Shapes


def refusal(subject: Shapes | Pocket, index: int, folder: Path) -> str:
    """How a mutation is refused; "" if it is used. Whatever else it raises is a failure."""
    subject.mutation(index, folder)
    try:
        subject.use(folder)
    except GemmaError as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("torch_only")
def test_mutated_shapes_are_refused_in_one_line_or_estimated(tmp_path: Path) -> None:
    shapes = Shapes(tmp_path)
    shapes.unchanged(tmp_path)
    refusals = [refusal(shapes, index, tmp_path) for index in range(40)]
    assert not any("\n" in line for line in refusals)
    assert 10 < sum(map(bool, refusals)) < 40


@pytest.mark.usefixtures("torch_only")
def test_mutated_folders_are_refused_in_one_line_or_answer(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    refusals = [refusal(pocket, index, tmp_path) for index in range(5)]
    assert not any("\n" in line for line in refusals)
    assert 0 < sum(map(bool, refusals)) < 5
    pocket.unchanged(tmp_path)
    pocket.use(tmp_path)
