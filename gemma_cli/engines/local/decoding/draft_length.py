"""How many tokens to draft: what pays on this machine, on this text.

Pace decides how fast a reply comes, never what it says: the text is the same at every draft length (decode.py), so a
wrong guess costs time only. A round with K drafts yields 1 + a_1 + a_1 a_2 + ... + a_1...a_K tokens, where a_i is the
chance that draft i is accepted once all before it were, and takes c_K seconds; both are running averages of what was
seen, and the best K is the one with the most tokens a second. K = 0, plain decoding, competes like any other.

The rule follows ollama's controller (x/mlxrunner/speculate_depth.go): never deeper than one past what has been
measured, and a look one deeper, or back at plain decoding, now and then, less often the longer nothing changes.

A draft copied from the context (lookup.py) competes on the same terms: expected tokens over expected seconds. It takes
no draft steps, so it may be longer, and one chance of going on serves for all its positions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

LONGEST = 8
"""The deepest draft ever tried; exactness is tested up to here."""

FIRST = 3  # before anything is known: pays for most of Google's drafters, and never costs much
ACCEPTANCE_MEMORY = 0.06  # weight of one round: about 16 rounds to follow a change of content
ACCEPTANCE_MEMORY_PLAIN = 0.25  # while decoding plainly only the rare probes teach anything, so each counts for more
SECONDS_MEMORY = 0.15
OUTLIER = 3.0  # a round slower than this many averages was the machine's doing, and counts as this much
PROBE_SOONEST, PROBE_LATEST = 8, 256  # rounds between looks elsewhere

COPIES = (3, 7, 15)
"""Lengths of copied drafts: with the newest token they fill passes of 4, 8 and 16 rows."""

COPY_HITS, COPY_TRIES = 8.0, 10.0  # before anything is known: a long match goes on nine times in ten, or not at all
COPY_MEMORY = 0.8  # what earlier copies weigh beside the newest
COPY_FADING = 0.02  # how far each copy that was declined brings its figures back to where they began


@dataclass
class AdaptiveDraftLength:
    """Running averages for one model and drafter on one device; `choose` before a round, `observe` after it."""

    seconds: list[float | None] = field(default_factory=lambda: [None] * (LONGEST + 1))  # by K
    acceptance: list[float] = field(default_factory=lambda: [0.7] * LONGEST)  # by draft position, given all before it
    rounds_to_probe: int = 2
    probe_gap: int = PROBE_SOONEST
    probe_plain_next: bool = True
    copy_seconds: list[float | None] = field(default_factory=lambda: [None] * len(COPIES))
    copy_hits: float = COPY_HITS
    copy_tries: float = COPY_TRIES

    def choose(self) -> int:
        """The draft length for the next round."""
        best = self.best()
        self.rounds_to_probe -= 1
        if self.rounds_to_probe > 0:
            return best
        self.rounds_to_probe = self.probe_gap
        return self._elsewhere(best)

    def observe(self, drafted: int, accepted: int, seconds: float) -> None:
        """Learn from one round: `accepted` of `drafted` tokens were kept, in `seconds` of wall time."""
        before = self.best()
        known = self.seconds[drafted]
        if known is None:
            self.seconds[drafted] = seconds
        else:
            self.seconds[drafted] = known + SECONDS_MEMORY * (min(seconds, OUTLIER * known) - known)
        memory = ACCEPTANCE_MEMORY if before else ACCEPTANCE_MEMORY_PLAIN
        for position in range(min(accepted + 1, drafted)):
            hit = 1.0 if position < accepted else 0.0
            self.acceptance[position] += memory * (hit - self.acceptance[position])
        if self.best() != before:
            self.probe_gap = self.rounds_to_probe = PROBE_SOONEST
        elif before == 0 < accepted:  # a draft went well amid plain decoding: the text may have changed, look again
            self.rounds_to_probe = 1
        elif drafted != before:
            self.probe_gap = min(self.probe_gap * 2, PROBE_LATEST)

    def choose_copy(self, found: int) -> int:
        """How many of `found` tokens that could be copied to try in place of the drafter's; 0: none."""
        fitting = [index for index, length in enumerate(COPIES) if length <= found]
        if not fitting or self._frontier() < 0:
            return 0
        index = max(fitting, key=self._copied_per_second)
        if self._copied_per_second(index) > self.tokens_per_second(self.best()):
            return COPIES[index]
        self._forget_a_little(index)
        return 0

    def observe_copy(self, copied: int, accepted: int, seconds: float) -> None:
        """The same of a round whose draft was copied; `copied` may be less than was chosen where the reply may end."""
        self.copy_hits = COPY_MEMORY * self.copy_hits + accepted
        self.copy_tries = COPY_MEMORY * self.copy_tries + min(accepted + 1, copied)
        if copied in COPIES:
            index = COPIES.index(copied)
            known, memory = self.copy_seconds[index], SECONDS_MEMORY
            if known is None:  # the guess is worth half, because a first pass of a size also prepares its kernels
                known, memory = self._guessed_copy(index), 0.5
            self.copy_seconds[index] = known + memory * (min(seconds, OUTLIER * known) - known)

    def best(self) -> int:
        """The K with the most tokens a second, among those measured and one deeper."""
        if self._frontier() < 0:
            return FIRST
        return max(range(min(self._frontier() + 1, LONGEST) + 1), key=self.tokens_per_second)

    def tokens_per_second(self, drafted: int) -> float:
        """What K = `drafted` is expected to give."""
        tokens = survived = 1.0
        for position in range(drafted):
            survived *= self.acceptance[position]
            tokens += survived
        return tokens / self._cost(drafted)

    def _copied_per_second(self, index: int) -> float:
        goes_on = self.copy_hits / self.copy_tries
        tokens = sum(goes_on**position for position in range(COPIES[index] + 1))
        return tokens / (self.copy_seconds[index] or self._guessed_copy(index))

    def _guessed_copy(self, index: int) -> float:
        """No more than as many drafts take, which have steps of their own."""
        return self._cost(min(COPIES[index], LONGEST))

    def _forget_a_little(self, index: int) -> None:
        """So that what failed on one text is tried again on another."""
        self.copy_hits += COPY_FADING * (COPY_HITS - self.copy_hits)
        self.copy_tries += COPY_FADING * (COPY_TRIES - self.copy_tries)
        known = self.copy_seconds[index]
        if known is not None:
            self.copy_seconds[index] = known + COPY_FADING * (self._guessed_copy(index) - known)

    def _frontier(self) -> int:
        """The deepest K measured; -1 before the first round."""
        return max((k for k, cost in enumerate(self.seconds) if cost is not None), default=-1)

    def _cost(self, drafted: int) -> float:
        """Seconds of a round with K drafts: measured, else on the line through the nearest and the farthest measured,
        which noise tilts least."""
        known = [(k, cost) for k, cost in enumerate(self.seconds) if cost is not None]
        measured = self.seconds[drafted]
        if measured is not None:
            return measured
        if len(known) == 1:  # one draft step is a small fraction of a target pass; a guess until something is measured
            (k, cost), step = known[0], 0.1
            return cost * (1 + step * drafted) / (1 + step * k)
        near, cost = min(known, key=lambda point: abs(point[0] - drafted))
        far, other = max(known, key=lambda point: abs(point[0] - near))
        slope = max((cost - other) / (near - far), 0.0)  # more drafts never take less, however it looks
        return max(cost + slope * (drafted - near), min(cost, other) * 0.5)

    def _elsewhere(self, best: int) -> int:
        """A draft length worth a look: plain decoding and one deeper than the best, in turn."""
        self.probe_plain_next = not self.probe_plain_next
        if best == 0:
            return 2  # two drafts tell of two positions and cost little more than one
        return 0 if not self.probe_plain_next else min(best + 1, LONGEST)


def to_json(pace: AdaptiveDraftLength) -> dict[str, Any]:
    """The averages as plain values, to be kept between runs."""
    return asdict(pace)


def from_json(values: Any) -> AdaptiveDraftLength:
    """Averages kept earlier; where anything does not fit they are all forgotten, never an error."""
    fresh = AdaptiveDraftLength()
    try:
        pace = AdaptiveDraftLength(**values)
        fits = (
            _are(pace.seconds, fresh.seconds, low=1e-9)
            and _are(pace.acceptance, fresh.acceptance, high=1.0)
            and _are(pace.copy_seconds, fresh.copy_seconds, low=1e-9)
            and _are([pace.copy_hits, pace.copy_tries], [0.0, 0.0])
            and 0 <= pace.copy_hits <= pace.copy_tries != 0
            and all(type(gap) is int and 0 <= gap <= PROBE_LATEST for gap in (pace.rounds_to_probe, pace.probe_gap))
            and type(pace.probe_plain_next) is bool
        )
    except TypeError:
        return fresh
    return pace if fits else fresh


def _are(values: Any, like: list[Any], low: float = 0.0, high: float = 1e6) -> bool:
    """Whether `values` is a list of as many finite floats in [low, high], or None where that is what stands there."""
    return len(values) == len(like) and all(
        (value is None and model is None) or (type(value) is float and low <= value <= high)
        for value, model in zip(values, like, strict=True)
    )
