from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.engines.local.decoding.lookup import MATCH, Lookup

RUN = list(range(100, 100 + MATCH))


def test_what_followed_the_same_tokens_is_proposed() -> None:
    lookup = Lookup([1, *RUN, 7, 8, 9, 2])
    assert lookup.find(3) == []
    lookup.extend(RUN[:-1])
    assert lookup.find(3) == [], "one token short of a match"
    lookup.extend(RUN[-1:])
    assert lookup.find(3) == [7, 8, 9]
    lookup.extend([7])
    assert lookup.find(2) == [8, 9], "the match moves on with the reply"
    lookup.extend([0])
    assert lookup.find(2) == [], "the reply went its own way"


def test_what_was_followed_by_different_tokens_is_not() -> None:
    lookup = Lookup([*RUN, 7, *RUN, 7, *RUN])
    assert lookup.find(1) == [7]
    lookup.extend([8, *RUN])
    assert lookup.find(1) == []
    lookup.extend([7, *RUN])
    assert lookup.find(1) == [], "once is enough"


def test_a_loop_goes_round() -> None:
    assert Lookup([1, 2, 3] * 4).find(7) == [1, 2, 3, 1, 2, 3, 1]
    assert Lookup([5] * (MATCH + 1)).find(4) == [5] * 4


def test_too_little_to_match() -> None:
    for count in range(MATCH + 1):
        assert Lookup(RUN[:count]).find(8) == []


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 60), st.integers(1, 20))
def test_agrees_with_a_search(ids: list[int], prompt: int, most: int) -> None:
    lookup = Lookup(ids[:prompt])
    lookup.find(most)  # entering in two goes, or in one, is the same
    lookup.extend(ids[prompt:])
    found = lookup.find(most)
    places = [i for i in range(MATCH, len(ids)) if ids[i - MATCH : i] == ids[len(ids) - MATCH :]]
    if len({ids[place] for place in places}) == 1:
        endless = (ids[places[-1] :] * (most + 1))[:most]
        assert found == endless
    else:
        assert found == []
