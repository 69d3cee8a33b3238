"""The place of a container's packets on the timeline of a player, which begins at 0."""

from __future__ import annotations

_BACK_S = 0.25
"""Seconds. A stream whose times jump back further has restarted, as in joined recordings."""

_AHEAD_S = 3600.0
"""Seconds. A longer gap in all streams is a broken time or the start of another recording."""


class Timeline:
    """A mapping of packet times to the timeline. If the times of a container restart, the rest continues after the part
    before.

    Streams move together: packets of the second recording keep their distance from each other.
    """

    def __init__(self, origin: float) -> None:
        self._shifts = [-origin]
        self._streams: dict[int, tuple[int, float]] = {}  # by index: which shift holds, and the end so far, unshifted
        self.end = 0.0

    def place(self, stream: int, start: float, duration: float) -> float:
        """Return the second of a packet of a stream, from its time stamp and length in seconds."""
        era, before = self._streams.get(stream, (len(self._shifts) - 1, start))
        if start < before - _BACK_S:
            era = era + 1 if era + 1 < len(self._shifts) else self._begin(start)
        if start + self._shifts[era] > self.end + _AHEAD_S:
            era = self._begin(start)
        self._streams[stream] = era, start + duration
        placed = start + self._shifts[era]
        self.end = max(self.end, placed + duration)
        return placed

    def _begin(self, start: float) -> int:
        self._shifts.append(self.end - start)
        return len(self._shifts) - 1
