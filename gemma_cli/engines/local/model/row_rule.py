"""The row counts that a target pass may have, so that no row depends on the number of other rows."""

from __future__ import annotations

from dataclasses import dataclass

FIXED = 8
"""The count of every pass on a GPU, where the weights are read once for any few rows."""


@dataclass(frozen=True)
class RowRule:
    """counts: the rows a target pass may have, in rising order; exact: whether they all give a row the same bits."""

    counts: tuple[int, ...]
    exact: bool

    @property
    def most(self) -> int:
        return self.counts[-1]

    def filled(self, rows: int) -> int:
        """The smallest count that holds `rows`; beyond `most` the next multiple of FIXED."""
        return next((count for count in self.counts if count >= rows), -(-rows // FIXED) * FIXED)


UNMEASURED = RowRule((FIXED,), exact=False)
