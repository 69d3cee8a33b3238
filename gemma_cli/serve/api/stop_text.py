"""Stop texts, found also where they span two deltas of a stream."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Passes text on until one of `stops` begins, and holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False
        self.which: str | None = None

    def feed(self, text: str) -> str:
        """Add a delta, and return the text that can be shown now."""
        if self.found or not self._stops:
            return "" if self.found else text
        self._held += text
        places = [(place, stop) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            place, self.which = min(places, key=lambda found: found[0])
            self.found = True
            shown, self._held = self._held[:place], ""
            return shown
        keep = max(map(self._beginning, self._stops))
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """Return what was held back, when the reply has ended."""
        shown, self._held = self._held, ""
        return shown

    def _beginning(self, stop: str) -> int:
        """Return the length of the longest suffix of `held` that is a prefix of `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
