"""The fastest draft length is found on machines and texts of every kind; time is simulated, never measured."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_cli.engines.local.decoding.draft_length import (
    COPIES,
    FIRST,
    LONGEST,
    AdaptiveDraftLength,
    from_json,
    to_json,
)
from tests.engines.helpers.simulated_draft_length import Truth, after_learning, prior, speed, truth


def run(pace: AdaptiveDraftLength, acceptance: float, cost, rounds: int, seed: int = 0) -> tuple[list[int], float]:
    """Play `rounds`: the K chosen in each, and tokens a second over all of them."""
    noise = random.Random(seed)
    chosen, tokens, seconds = [], 0, 0.0
    for _ in range(rounds):
        drafted = pace.choose()
        accepted = 0
        while accepted < drafted and noise.random() < acceptance:
            accepted += 1
        took = cost(drafted) * noise.uniform(0.9, 1.1)
        pace.observe(drafted, accepted, took)
        chosen.append(drafted)
        tokens += accepted + 1
        seconds += took
    return chosen, tokens / seconds


def expected(acceptance: float, cost, drafted: int) -> float:
    return sum(acceptance**i for i in range(drafted + 1)) / cost(drafted)


MACHINES = {
    "gpu, rows are free": lambda k: 1.0 + 0.05 * k,
    "cpu, a step costs a fifth": lambda k: 1.0 + 0.2 * k,
    "moe, every row wakes experts": lambda k: 1.0 + 0.6 * k,
    "cpu, more than five rows hurt": lambda k: 1.0 + 0.06 * k + (0.8 if k > 4 else 0.0),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("acceptance", [0.05, 0.4, 0.7, 0.95])
def test_comes_close_to_the_best_fixed_length(machine: str, acceptance: float) -> None:
    cost = MACHINES[machine]
    best = max(expected(acceptance, cost, k) for k in range(LONGEST + 1))
    pace = AdaptiveDraftLength()
    run(pace, acceptance, cost, rounds=200)
    _, speed = run(pace, acceptance, cost, rounds=2000, seed=1)
    assert speed > 0.9 * best, f"{speed:.3f} of {best:.3f} tokens a second at its best fixed length"


def test_does_without_a_drafter_that_is_never_right() -> None:
    chosen, _ = run(AdaptiveDraftLength(), acceptance=0.0, cost=MACHINES["cpu, a step costs a fifth"], rounds=400)
    assert chosen[-200:].count(0) > 190


def test_follows_a_change_of_content() -> None:
    pace, cost = AdaptiveDraftLength(), MACHINES["cpu, a step costs a fifth"]
    prose, _ = run(pace, 0.05, cost, rounds=300)
    code, _ = run(pace, 0.95, cost, rounds=600, seed=2)
    assert sum(prose[-50:]) / 50 < 1
    assert sum(code[-50:]) / 50 > 4


def test_one_slow_round_does_not_move_it() -> None:
    pace, cost = AdaptiveDraftLength(), MACHINES["gpu, rows are free"]
    run(pace, 0.8, cost, rounds=300)
    best = pace.best()
    pace.observe(best, best, 1000.0)
    assert abs(pace.best() - best) <= 1


def test_what_was_learned_is_remembered() -> None:
    pace = AdaptiveDraftLength()
    run(pace, 0.9, MACHINES["gpu, rows are free"], rounds=200)
    again = from_json(to_json(pace))
    assert again.seconds == pace.seconds
    assert again.best() > FIRST
    assert from_json({"hits": [1.0]}) == AdaptiveDraftLength()
    assert from_json({"no such": 1}) == AdaptiveDraftLength()


@settings(max_examples=12, derandomize=True, deadline=None)
@given(st.integers(0, 1 << 32))
@example(1118)  # drafts are nearly always right, and too slow all the same
@example(115)  # learned on a machine whose times were a thirtieth
def test_it_finds_the_best_length_whatever_was_learned_before(seed: int) -> None:
    rng = random.Random(seed)
    assert after_learning(prior(rng), truth(rng), seed) > 0.95


POCKET = Truth((0.00100, 0.00115, 0.00130, 0.00145, 0.00160, 0.00175, 0.00190, 0.00205, 0.00220), (0.98,) * LONGEST)


@pytest.mark.parametrize("where", ["in the file", "in memory"])
def test_times_of_a_busy_hour_are_forgotten(where: str) -> None:
    """As it was seen: two drafts seemed fast, because all other lengths were measured while the machine was busy."""
    pace = AdaptiveDraftLength(seconds=[0.001, 0.0157, 0.0015, 0.0168, 0.0136, None, None, None, None])
    if where == "in memory":
        pace.newest = [[time] * 7 if time else [] for time in pace.seconds]
    pace = from_json(to_json(pace)) if where == "in the file" else pace
    assert after_learning(pace, POCKET, seed=1) > 0.95


def test_a_busy_spell_does_not_change_the_length() -> None:
    """The machine becomes ten times slower, and fast again."""
    pace, rng = AdaptiveDraftLength(), random.Random(3)
    speed(pace, POCKET, 300, rng)
    for cost in (tuple(10 * each for each in POCKET.cost), POCKET.cost):
        assert speed(pace, Truth(cost, POCKET.acceptance), 100, rng) > 0.95


def test_no_draft_is_longer_than_asked_for() -> None:
    rng = random.Random(5)
    for seed in range(20):
        pace = prior(random.Random(seed))
        for most in range(LONGEST + 1):
            assert speed(pace, POCKET, 20, rng, most) <= 1.0 + 1e-9
            assert pace.best() <= most


def copy(pace: AdaptiveDraftLength, goes_on: float, cost, rounds: int, seed: int = 0) -> list[int]:
    """Play rounds in each of which 20 tokens could be copied: what was."""
    noise = random.Random(seed)
    copied = []
    for _ in range(rounds):
        length = pace.choose_copy(20)
        copied.append(length)
        if not length:
            run(pace, 0.6, cost, rounds=1, seed=noise.randrange(1000))
            continue
        accepted = 0
        while accepted < length and noise.random() < goes_on:
            accepted += 1
        pace.observe_copy(length, accepted, cost(length) * 0.8)
    return copied


@pytest.mark.parametrize("machine", MACHINES)
def test_copies_what_goes_on_and_leaves_what_does_not(machine: str) -> None:
    pace = AdaptiveDraftLength()
    run(pace, 0.6, MACHINES[machine], rounds=200)
    assert copy(pace, 0.98, MACHINES[machine], rounds=100)[-50:].count(0) < 5
    assert sum(copy(pace, 0.0, MACHINES[machine], rounds=200)[-100:]) < 100, "what fails is hardly ever tried"
    again = copy(pace, 0.98, MACHINES[machine], rounds=300, seed=2)[-50:]
    assert again.count(0) < 5, "a text that can be copied is found after one that could not"


def test_a_copy_is_as_long_as_pays() -> None:
    dear, cheap = AdaptiveDraftLength(), AdaptiveDraftLength()
    for pace, cost in ((dear, lambda k: 1.0 + 1.0 * k), (cheap, lambda k: 1.0 + 0.01 * k)):
        run(pace, 0.3, cost, rounds=200)
        copy(pace, 0.9, cost, rounds=200)
    assert cheap.choose_copy(20) == COPIES[-1]
    assert dear.choose_copy(20) < COPIES[-1]


def test_nothing_is_copied_before_a_round_was_measured() -> None:
    assert AdaptiveDraftLength().choose_copy(20) == 0


def test_too_little_to_copy() -> None:
    pace = AdaptiveDraftLength()
    run(pace, 0.0, MACHINES["gpu, rows are free"], rounds=50)
    assert [pace.choose_copy(found) for found in range(COPIES[0])] == [0] * COPIES[0]
    assert pace.choose_copy(COPIES[0]) == COPIES[0]


def test_begins_with_drafts_and_goes_deeper_where_they_are_right() -> None:
    """A first reply is short: nothing is lost on looking around before it is known that drafts do not pay."""
    pace = AdaptiveDraftLength()
    chosen, _ = run(pace, 1.0, lambda k: 1.0 + 0.05 * k, rounds=12)
    assert chosen[0] == FIRST
    assert sum(chosen) / len(chosen) > FIRST
    assert chosen[-1] > FIRST


def test_one_slow_first_round_does_not_make_longer_drafts_look_dear() -> None:
    pace = AdaptiveDraftLength()
    for drafted, seconds in ((0, 1.0), (1, 9.0), (2, 1.1)):
        pace.observe(drafted, drafted, seconds)
    assert pace.best() == 3
    assert pace.choose_copy(20) == COPIES[-1]
