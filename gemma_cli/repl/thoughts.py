"""The thoughts of past replies, unfolded above the input line and folded again without a trace.

What is printed stays in the scrollback for good, so thoughts are not printed: they are shown where the input is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Wrap = Callable[[str, int], Sequence[str]]


@dataclass
class Fold:
    """Which reply's thoughts are open, if any: `chosen` counts the replies that have some, from the latest."""

    thoughts: Sequence[str] = ()  # of all replies that thought, the oldest first
    open: bool = False
    chosen: int = 0
    top: int = 0  # first line shown

    def toggle(self) -> bool:
        """Unfold or fold; False if there is nothing to unfold."""
        if not self.thoughts:
            return False
        self.open = not self.open
        self.chosen, self.top = 0, 0
        return True

    def close(self) -> None:
        self.open = False

    def go(self, replies: int) -> None:
        """Open the thoughts of a reply that many earlier (or, negative, later)."""
        self.chosen = max(0, min(len(self.thoughts) - 1, self.chosen + replies))
        self.top = 0

    def scroll(self, lines: int) -> None:
        self.top = max(0, self.top + lines)

    def rows(self, columns: int, height: int, wrap: Wrap) -> list[str]:
        """Return the rows to show, at most `height`; [] when folded."""
        if not self.open or not self.thoughts:
            return []
        lines = wrap(self.thoughts[-1 - self.chosen].strip(), max(8, columns - 3))
        room = max(1, height - 2)
        self.top = min(self.top, max(0, len(lines) - room))
        shown = lines[self.top : self.top + room]
        which = "the last reply with thoughts" if not self.chosen else f"an earlier reply ({self.chosen} back)"
        part = f", lines {self.top + 1}-{self.top + len(shown)} of {len(lines)}" if len(lines) > len(shown) else ""
        keys = ["Ctrl+O folds"]
        if len(lines) > len(shown):
            keys.append("PgUp/PgDn scroll")
        if len(self.thoughts) > 1:
            keys.append("Alt+Up/Down others")
        head = f"▾ thoughts of {which}{part} · {' · '.join(keys)}"
        return [head[: columns - 1], *(f"│ {line}" for line in shown), ""]
