"""Where the packets of a container lie on the time line that a player shows, which begins at 0."""

from __future__ import annotations

_BACK_S = 0.25
"""A stream whose times fall back further has begun anew, as where two recordings were joined."""

_AHEAD_S = 3600.0
"""A longer hole, in all streams at once, is a broken time or the beginning of another recording."""


class Timeline:
    """Places packets; where the times of a container begin anew, what follows goes on after what came before.

    Streams are placed together: their packets of the second recording keep their distance from each other.
    """

    def __init__(self, origin: float) -> None:
        self._shifts = [-origin]
        self._streams: dict[int, tuple[int, float]] = {}  # by index: which shift holds, and the end so far, unshifted
        self.end = 0.0

    def place(self, stream: int, start: float, duration: float) -> float:
        """Return the second at which a packet of a stream lies, by its time stamp and length in seconds."""
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
