"""A simulated machine and text for AdaptiveDraftLength: what a round costs, which drafts are right.

The clock is simulated.

truth(rng) -> Truth;  prior(rng) -> AdaptiveDraftLength         drawn from wide ranges
speed(pace, truth, rounds, rng) -> float         tokens a second, compared with the best fixed length
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean

from gemma_cli.engines.local.decoding.draft_length import LONGEST, AdaptiveDraftLength, from_json, to_json

MOST = 4
"""Drafts at most, as --draft-tokens left open has it."""

LEARNING, MEASURED, TEXTS = 200, 600, 3
"""Rounds before and while the speed is measured, and texts that are decoded from the same beginning."""

HICCUPS = 0.02  # the share of rounds that take two to eight times as long


@dataclass(frozen=True)
class Truth:
    """cost: seconds of a round, by K. acceptance: by position, given that all drafts before it were accepted."""

    cost: tuple[float, ...]
    acceptance: tuple[float, ...]

    def tokens(self, drafted: int) -> float:
        """The expected tokens of a round."""
        tokens = survived = 1.0
        for chance in self.acceptance[:drafted]:
            survived *= chance
            tokens += survived
        return tokens

    def best(self, most: int) -> float:
        """Tokens a second of the best fixed length."""
        return max(self.tokens(drafted) / self.cost[drafted] for drafted in range(most + 1))


def truth(rng: random.Random) -> Truth:
    """Draft steps that cost 2 to 60 % of a plain round, some of them a jump; drafts that are never right to always."""
    step, cost = rng.choice((0.02, 0.05, 0.1, 0.2, 0.4, 0.6)), [1.0]
    for _ in range(LONGEST):
        jump = rng.uniform(0.1, 0.8) if rng.random() < 0.12 else 0.0
        cost.append(cost[-1] + step * rng.uniform(0.3, 1.7) + jump)
    scale = 10 ** rng.uniform(-4, 0)
    first, fall = rng.choice((0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0)), rng.choice((1.0, 0.95, 0.85))
    return Truth(tuple(scale * each for each in cost), tuple(first * fall**i for i in range(LONGEST)))


def prior(rng: random.Random) -> AdaptiveDraftLength:
    """Learned before: nothing, figures in a file that may be anything, another machine and text, or a busy hour."""
    kind = rng.choice(("fresh", "file", "elsewhere", "elsewhere, from a file"))
    if kind == "fresh":
        return AdaptiveDraftLength()
    if kind == "file":
        tries = [rng.uniform(0.0, 40.0) for _ in range(LONGEST)]
        return from_json(
            {
                "seconds": [None if rng.random() < 0.1 else 10 ** rng.uniform(-5, 1) for _ in range(LONGEST + 1)],
                "hits": [each * rng.choice((0.0, 1.0, rng.random())) for each in tries],
                "tries": tries,
            }
        )
    pace = AdaptiveDraftLength()
    speed(pace, truth(rng), rng.randint(1, 600), rng)
    return from_json(to_json(pace)) if kind.endswith("file") else pace


def speed(
    pace: AdaptiveDraftLength, truth: Truth, rounds: int, rng: random.Random, most: int = MOST, hiccups: float = HICCUPS
) -> float:
    """Expected tokens a second of the lengths that `pace` chose, as a share of those of the best fixed length."""
    tokens = seconds = 0.0
    for _ in range(rounds):
        drafted, accepted = pace.choose(most), 0
        while accepted < drafted and rng.random() < truth.acceptance[accepted]:
            accepted += 1
        slow = rng.uniform(2.0, 8.0) if rng.random() < hiccups else 1.0
        pace.observe(drafted, accepted, truth.cost[drafted] * rng.uniform(0.9, 1.1) * slow)
        tokens += truth.tokens(drafted)
        seconds += truth.cost[drafted]
    return tokens / seconds / truth.best(most)


def after_learning(pace: AdaptiveDraftLength, truth: Truth, seed: int) -> float:
    """The speed after LEARNING rounds, as a share of the best fixed length's: the mean over TEXTS."""
    speeds = []
    for text in range(TEXTS):
        rng, trained = random.Random(f"{seed} {text}"), deepcopy(pace)
        speed(trained, truth, LEARNING, rng)
        speeds.append(speed(trained, truth, MEASURED, rng))
    return fmean(speeds)
