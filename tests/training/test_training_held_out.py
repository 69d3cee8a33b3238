"""The bundled held-out replies are those that the present generators draw."""

from __future__ import annotations

from gemma_cli.benchmark.side_by_side import held_out
from training.held_out import replies


def test_the_bundled_replies_have_the_forms_that_are_taught() -> None:
    """A change of a form in training asks for `python -m training held_out`."""
    assert held_out() == replies()
