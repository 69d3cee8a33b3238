from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemma_cli.core.events import Delta, Event, Round, Speculation, collect


def test_drafts_are_told_apart_by_where_they_came_from() -> None:
    rounds = [Round(4, 3), Round(7, 7, "lookup"), Round(0, 0), Round(4, 0)]
    speculation = Speculation(rounds)
    assert (speculation.drafted, speculation.accepted) == (15, 10)
    assert speculation.of("drafter").rounds == [Round(4, 3), Round(4, 0)]
    assert speculation.of("lookup").accepted == 7


def test_a_drafter_that_is_never_right_is_told() -> None:
    assert Speculation([Round(4, 0)] * 4).remark is None, "too few to say"
    assert "another model" in (Speculation([Round(4, 0)] * 5).remark or "")
    assert Speculation([Round(4, 1)] * 5).remark is None
    assert Speculation([Round(7, 0, "lookup")] * 9).remark is None, "copies are not the drafter's"


def test_drafts_that_do_not_pay_are_told() -> None:
    often = [Round(0, 0)] * 15 + [Round(2, 1)] * 5
    assert "did not make the reply faster" in (Speculation(often).remark or "")
    assert Speculation(often[5:]).remark is None
    assert Speculation([Round(0, 0)] * 40).remark is None, "nothing was drafted, and nothing was to be"
    assert Speculation([Round(4, 2)] * 40).remark is None


def cancelled() -> Iterator[Event]:
    """A reply during which Ctrl-C is pressed."""
    yield Delta("answer", "One, two")
    raise KeyboardInterrupt


def test_ctrl_c_ends_a_turn_that_is_drawn_and_is_raised_from_one_that_is_not() -> None:
    drawn: list[Event] = []
    turn = collect(cancelled(), drawn.append)
    assert (turn.text, turn.finish_reason, drawn) == ("One, two", "interrupted", [Delta("answer", "One, two")])
    with pytest.raises(KeyboardInterrupt):
        collect(cancelled())
