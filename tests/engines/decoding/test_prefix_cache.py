"""Where the passes of a prompt end."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.engines.local.decoding.prefix_cache import SHORTEST, whole_passes
from gemma_cli.engines.local.text.prompt import Prompt

Piece = tuple[str, int]


def read(pieces: list[Piece], size: int) -> tuple[tuple[int, ...], int, Prompt]:
    """Whole passes of a prompt of text, pictures and openings of turns, its rows, and the prompt."""
    blocks: list[int] = []
    turns: list[int] = []
    for index, (kind, rows) in enumerate(pieces):
        blocks += [index if kind == "picture" else -1] * rows
        if kind == "turn":
            turns.append(len(blocks))
    prompt = Prompt(tuple(range(len(blocks))), turns=tuple(turns))
    return whole_passes(prompt, size, torch.tensor(blocks)), len(blocks), prompt


PIECES = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.integers(1, 70)),
        st.tuples(st.just("picture"), st.integers(1, 50)),
        st.tuples(st.just("turn"), st.integers(3, 5)),
    ),
    min_size=1,
    max_size=12,
)


@given(began=PIECES, more=PIECES, size=st.sampled_from([8, 16, 32]))
@settings(max_examples=200, deadline=None)
def test_they_end_where_they_do_in_every_prompt_that_goes_on(began: list[Piece], more: list[Piece], size: int) -> None:
    ends, rows, prompt = read([*began, ("text", 1)], size)
    assert list(ends) == sorted(set(ends))
    assert all(0 < end <= rows for end in ends)
    longer, _, _ = read([*began, ("text", 1), *more], size)
    assert longer[: len(ends)] == ends
    starts = [0, *ends]
    for turn in prompt.turns:
        before = max(start for start in starts if start < turn)
        assert turn in ends or turn - before < size // SHORTEST


def test_a_text_without_turns_is_read_in_whole_passes() -> None:
    assert read([("text", 70)], 32)[0] == (32, 64)
    assert read([("text", 64)], 32)[0] == (32,)
    assert read([("text", 5)], 32)[0] == ()
    assert read([("text", 20), ("turn", 3), ("text", 40), ("turn", 3)], 32)[0] == (23, 55, 66)
    assert read([("text", 20), ("turn", 3), ("text", 4), ("turn", 3), ("text", 40)], 32)[0] == (23, 55)
    assert read([("text", 20), ("picture", 20), ("turn", 3)], 32)[0] == (20, 43)
