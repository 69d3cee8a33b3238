"""The number of accepted drafts of a round.

`equal` is the rule: a draft is accepted while it is the target's own choice. `SyntheticAcceptance` is for synthetic
models alone, whose random drafts are never right: it accepts each draft with a given probability, so that a round takes
the time it would take with a drafter that good. The text then depends on the drafts, and means as little as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Accept = Callable[[Sequence[int], Sequence[int], int], int]
"""(drafted, chosen, position) -> number of accepted drafts. position: of the first draft."""


def equal(drafted: Sequence[int], chosen: Sequence[int], position: int) -> int:
    """As many as agree with the target's choices."""
    kept = 0
    while kept < len(drafted) and drafted[kept] == chosen[kept]:
        kept += 1
    return kept


@dataclass(frozen=True)
class SyntheticAcceptance:
    """Keeps a draft with `probability`; the coin belongs to (seed, position), so every draft length meets the same."""

    probability: float
    seed: int = 0

    def __call__(self, drafted: Sequence[int], chosen: Sequence[int], position: int) -> int:
        kept = 0
        while kept < len(drafted) and self.heads(position + kept):
            kept += 1
        return kept

    def heads(self, position: int) -> bool:
        """Return whether to accept a draft at that position."""
        return Random((self.seed << 32) + position).random() < self.probability
