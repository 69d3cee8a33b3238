"""The number of tokens to draft: the fastest on this machine and this text.

It decides how fast a reply comes, never what it says: the text is the same at every draft length (decode.py), so a
wrong guess costs time only. A round with K drafts yields 1 + a_1 + a_1 a_2 + ... + a_1...a_K tokens, where a_i is the
chance that draft i is accepted once all before it were, and takes c_K seconds. The best K yields the most tokens a
second. K = 0, plain decoding, competes like any other.

What was learned in other circumstances must not last, because lengths that are not in use are not measured:

- c_K is the lower median of the newest few times, so one slow round changes nothing.
- The length in use is measured all the time. When its time changes, the machine became busy or free, and the times of
  all other lengths change with it. So a busy hour moves the costs but not their order.
- A probe tries another length where it could be better, if all that is uncertain about it turned out well. Certainty
  fades with the rounds since it was measured. A probe that is far off what was known replaces it.
- A probe that lost time is followed by as many rounds as it takes to keep that loss below PROBE_SHARE.
- What a file remembers is a first guess, until it is measured.

A draft copied from the context (lookup.py) competes on the same terms: expected tokens over expected seconds. It takes
no draft steps, so it may be longer, and one chance of acceptance serves for all its positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LONGEST = 8
"""The deepest draft ever tried; exactness is tested up to here."""

FIRST = 3  # before anything is known: fast with most of Google's drafters, and never much slower
NEWEST = 7  # times of each length that count
TRIES = 40.0  # rounds that count for the acceptance at one position
FADING = 0.997  # what a round leaves of the tries at all positions: those that are not reached are forgotten
PRIOR = 0.6  # the acceptance of a first draft before anything is known; as much as one try
TRUSTED = 150  # rounds after which a time that was not measured again counts nothing against a probe
SURPRISE = 1.4  # a probe that is so many times slower or faster than expected replaces what was known
PROBE_SOONEST, PROBE_LATEST = 6, 256  # rounds between probes
PROBE_SHARE = 0.02  # of the time may be lost on probes
REMEMBERED_TRIES = 2.0  # what the acceptance in a file counts at most, so that a few rounds outweigh it

COPIES = (3, 7, 15)
"""Lengths of copied drafts: with the newest token they fill passes of 4, 8 and 16 rows."""

COPY_HITS, COPY_TRIES = 8.0, 10.0  # initial guess: a long match continues nine times in ten, or not at all
COPY_MEMORY = 0.8  # what earlier copies count, compared with the newest
COPY_FADING = 0.02  # how far each copy that was declined brings its figures back to where they began
COPY_SECONDS_MEMORY = 0.15
COPY_OUTLIER = 3.0  # a copied round slower than so many averages counts as this much


@dataclass
class AdaptiveDraftLength:
    """Figures of one model and drafter on one device; `choose` before a round, `observe` after it."""

    seconds: list[float | None] = field(default_factory=lambda: [None] * (LONGEST + 1))  # of a round, by K
    newest: list[list[float]] = field(default_factory=lambda: [[] for _ in range(LONGEST + 1)])  # what it comes from
    unseen: list[int] = field(default_factory=lambda: [0] * (LONGEST + 1))  # rounds since K was measured
    hits: list[float] = field(default_factory=lambda: [0.0] * LONGEST)  # by draft position
    tries: list[float] = field(
        default_factory=lambda: [0.0] * LONGEST
    )  # rounds in which all drafts before it were hits
    rounds_to_probe: int = 3
    most: int = LONGEST  # drafts in the next round
    copy_seconds: list[float | None] = field(default_factory=lambda: [None] * len(COPIES))
    copy_hits: float = COPY_HITS
    copy_tries: float = COPY_TRIES

    def choose(self, most: int = LONGEST) -> int:
        """The draft length for the next round, at most `most`."""
        self.most = min(most, LONGEST)
        best = self.best()
        self.rounds_to_probe -= 1
        return best if self.rounds_to_probe > 0 or self._frontier() < 0 else self._probe(best)

    def observe(self, drafted: int, accepted: int, seconds: float) -> None:
        """Learn from one round: `accepted` of `drafted` tokens, in `seconds` of wall time."""
        before = self.best()
        surprised = self._time(drafted, before, seconds)
        self._count(drafted, accepted)
        best = self.best()
        if drafted == before:
            if best != before:
                self.rounds_to_probe = min(max(self.rounds_to_probe, 1), PROBE_SOONEST)
        elif before == 0 < accepted and self._promise(drafted, best) > self.tokens_per_second(best):
            self.rounds_to_probe = 2  # a draft was right amid plain decoding: the text may have changed, look again
        elif best != before or surprised:
            self.rounds_to_probe = PROBE_SOONEST
        else:
            lost = self._cost(drafted) / self._cost(best) - self._tokens(drafted) / self._tokens(best)
            self.rounds_to_probe = round(min(max(lost / PROBE_SHARE, PROBE_SOONEST), PROBE_LATEST))

    def observe_batch(self, drafted: int, accepted: list[int], seconds: float) -> None:
        """Learn from one round in which as many tokens were drafted for each of several sequences."""
        for count in accepted[1:]:
            self._count(drafted, count)
        self.observe(drafted, accepted[0], seconds)

    def choose_copy(self, found: int) -> int:
        """Return how many of the `found` tokens to copy in place of the drafter's; 0: none."""
        fitting = [index for index, length in enumerate(COPIES) if length <= found]
        if not fitting or self._frontier() < 0:
            return 0
        index = max(fitting, key=self._copied_per_second)
        if self._copied_per_second(index) > self.tokens_per_second(self.best()):
            return COPIES[index]
        self._forget_a_little(index)
        return 0

    def observe_copy(self, copied: int, accepted: int, seconds: float) -> None:
        """Learn from a round whose draft was copied; `copied` may be less than was chosen where the reply may end."""
        self.copy_hits = COPY_MEMORY * self.copy_hits + accepted
        self.copy_tries = COPY_MEMORY * self.copy_tries + min(accepted + 1, copied)
        if copied in COPIES:
            index = COPIES.index(copied)
            known, memory = self.copy_seconds[index], COPY_SECONDS_MEMORY
            if known is None:  # the guess counts half, because a first pass of a size also prepares its kernels
                known, memory = self._guessed_copy(index), 0.5
            self.copy_seconds[index] = known + memory * (min(seconds, COPY_OUTLIER * known) - known)

    def best(self) -> int:
        """The K with the most tokens a second, among those measured and one deeper."""
        if self._frontier() < 0:
            return min(FIRST, self.most)
        return max(range(min(self._frontier() + 1, self.most) + 1), key=self.tokens_per_second)

    def tokens_per_second(self, drafted: int) -> float:
        """Return the expected gain of K = `drafted`."""
        return self._tokens(drafted) / self._cost(drafted)

    def _time(self, drafted: int, in_use: int, seconds: float) -> bool:
        """Take in the time of a round. True: it was a probe, and far off what was known."""
        known, newest = self.seconds[drafted], self.newest[drafted]
        self.unseen = [rounds + 1 for rounds in self.unseen]
        self.unseen[drafted] = 0
        surprised = drafted != in_use and bool(newest) and not 1 / SURPRISE < seconds / low_median(newest) < SURPRISE
        if surprised:
            newest.clear()
        measured = len(newest)
        newest.append(seconds)
        del newest[:-NEWEST]
        self.seconds[drafted] = new = low_median(newest)
        if known is not None and not surprised:
            if not measured:  # the first time since a file was read
                self._rescale(new / known, [k for k in range(LONGEST + 1) if k != drafted and not self.newest[k]])
            elif drafted == in_use and measured >= 3:
                self._rescale(new / known, [k for k in range(LONGEST + 1) if k != drafted])
                self.copy_seconds = [cost and cost * new / known for cost in self.copy_seconds]
        return surprised

    def _rescale(self, ratio: float, lengths: list[int]) -> None:
        """Multiply the times of `lengths`: the machine became slower or faster since they were measured."""
        for k in lengths:
            cost = self.seconds[k]
            self.seconds[k] = cost and cost * ratio
            self.newest[k] = [time * ratio for time in self.newest[k]]

    def _count(self, drafted: int, accepted: int) -> None:
        """Take in which drafts of a round were accepted."""
        self.hits = [FADING * hits for hits in self.hits]
        self.tries = [FADING * tries for tries in self.tries]
        for position in range(min(accepted + 1, drafted)):
            weight = min(TRIES / (self.tries[position] + 1), 1.0)
            self.hits[position] = weight * (self.hits[position] + (position < accepted))
            self.tries[position] = weight * (self.tries[position] + 1)

    def _tokens(self, drafted: int, benefit: float = 0.0) -> float:
        """The expected tokens of a round. benefit: tries to add at each position, all of them hits."""
        tokens = survived = 1.0
        chance = PRIOR
        for hits, tries in zip(self.hits[:drafted], self.tries, strict=False):
            chance = (hits + chance) / (tries + 1)  # a position that was hardly tried is like the one before it
            survived *= (chance * (tries + 1) + benefit) / (tries + 1 + benefit)
            tokens += survived
        return tokens

    def _probe(self, best: int) -> int:
        """Return the length to try once: one that may be better than the best, the least measured of them; else the
        best."""
        goal = self.tokens_per_second(best)
        hopeful = [k for k in range(self.most + 1) if k != best and self._promise(k, best) > goal]
        return min(hopeful, key=lambda k: (min(len(self.newest[k]), 3), -self.unseen[k], abs(k - best)), default=best)

    def _promise(self, drafted: int, best: int) -> float:
        """Tokens a second of a length if what is uncertain about it turns out well.

        The lowest cost that is possible: more drafts cost nothing, fewer drafts save their share.
        """
        lowest = self._cost(best) * min(1.0, (drafted + 1) / (best + 1))
        measured = len(self.newest[drafted])
        trust = measured / (measured + 1) * max(1 - self.unseen[drafted] / TRUSTED, 0.0)
        cost: float = max(self._cost(drafted), lowest)
        weighted: float = cost**trust * lowest ** (1 - trust)
        return self._tokens(drafted, benefit=1.0) / weighted

    def _copied_per_second(self, index: int) -> float:
        goes_on = self.copy_hits / self.copy_tries
        tokens = sum(goes_on**position for position in range(COPIES[index] + 1))
        return tokens / (self.copy_seconds[index] or self._guessed_copy(index))

    def _guessed_copy(self, index: int) -> float:
        """Half way from a plain round to one with as many drafts, which has draft steps beside its rows."""
        return (self._cost(0) + self._cost(min(COPIES[index], LONGEST))) / 2

    def _forget_a_little(self, index: int) -> None:
        """Forget old failures, so that a length is tried again on another text."""
        self.copy_hits += COPY_FADING * (COPY_HITS - self.copy_hits)
        self.copy_tries += COPY_FADING * (COPY_TRIES - self.copy_tries)
        known = self.copy_seconds[index]
        if known is not None:
            self.copy_seconds[index] = known + COPY_FADING * (self._guessed_copy(index) - known)

    def _frontier(self) -> int:
        """The deepest K measured; -1 before the first round."""
        return max((k for k, cost in enumerate(self.seconds) if cost is not None), default=-1)

    def _cost(self, drafted: int) -> float:
        """Return the seconds of a round with K drafts: measured, else on the line through the nearest and the farthest
        measured, which noise tilts least."""
        measured = self.seconds[drafted]
        if measured is not None:
            return measured
        known = [(k, cost) for k, cost in enumerate(self.seconds) if cost is not None]
        if len(known) == 1:  # one draft step is a small fraction of a target pass; a guess until something is measured
            (k, cost), step = known[0], 0.1
            return cost * (1 + step * drafted) / (1 + step * k)
        near, cost = min(known, key=lambda point: abs(point[0] - drafted))
        far, other = max(known, key=lambda point: abs(point[0] - near))
        slope = max((cost - other) / (near - far), 0.0)  # more drafts never take less, however it looks
        return max(cost + slope * (drafted - near), min(cost, other) * 0.5)


def low_median(times: list[float]) -> float:
    """The median, the lower of two: what disturbs a measurement makes it longer."""
    return sorted(times)[(len(times) - 1) // 2]


def to_json(pace: AdaptiveDraftLength) -> dict[str, Any]:
    """Return the figures to save between runs, as plain values."""
    return {"seconds": pace.seconds, "hits": pace.hits, "tries": pace.tries}


def from_json(values: Any) -> AdaptiveDraftLength:
    """Create figures whose first guesses come from an earlier run. Where anything does not fit it begins anew."""
    fresh = AdaptiveDraftLength()
    try:
        pace = AdaptiveDraftLength(**values)
        fits = (
            values.keys() == to_json(fresh).keys()
            and _are(pace.seconds, fresh.seconds, low=1e-9)
            and _are(pace.hits, fresh.hits)
            and _are(pace.tries, fresh.tries)
            and all(hits <= tries for hits, tries in zip(pace.hits, pace.tries, strict=True))
        )
    except TypeError:
        return fresh
    if not fits:
        return fresh
    weights = [min(REMEMBERED_TRIES / tries, 1.0) if tries else 0.0 for tries in pace.tries]
    pace.hits = [weight * hits for weight, hits in zip(weights, pace.hits, strict=True)]
    pace.tries = [weight * tries for weight, tries in zip(weights, pace.tries, strict=True)]
    return pace


def _are(values: Any, like: list[Any], low: float = 0.0, high: float = 1e6) -> bool:
    """Whether `values` is a list of as many finite floats in [low, high], or None where that is what stands there."""
    return len(values) == len(like) and all(
        (value is None and model is None) or (type(value) is float and low <= value <= high)
        for value, model in zip(values, like, strict=True)
    )
