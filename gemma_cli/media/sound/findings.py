"""Findings while a sound file is read: remarks for the user, and damage."""

from __future__ import annotations

from dataclasses import dataclass, field

from gemma_cli.text.clock import clock

_NEAR_S = 1.0
_MOST = 1000
_NAMED = 3


COPY_AGAIN = "copy the file again"


@dataclass(frozen=True)
class Damage:
    """An unreadable place. at: seconds from the beginning of the recording. remedy: how to repair it."""

    at: float
    reason: str
    remedy: str = COPY_AGAIN


@dataclass
class Findings:
    """Remarks and damage in the order they were found. channels: how many the sound has, in each of its forms."""

    remarks: list[str] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    offset: float = 0.0
    channels: list[int] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Note a remark, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def damaged(self, at: float, reason: str, remedy: str = COPY_AGAIN) -> None:
        """Record damage at that second; it is merged with damage of the same kind shortly before."""
        at += self.offset
        last = self.damage[-1] if self.damage else None
        if last and last.reason == reason and at - last.at < _NEAR_S:
            return
        if len(self.damage) < _MOST:
            self.damage.append(Damage(at, reason, remedy))

    def after(self, seconds: float) -> Findings:
        """Return the same findings for a part that begins so many seconds later."""
        return Findings(self.remarks, self.damage, self.offset + seconds, self.channels)

    def summary(self) -> str:
        """Describe the damage in one line, such as "damaged at 0:00:12 (cannot be decoded) and 2 more places"."""
        named = "; ".join(f"{damage.reason} at {clock(damage.at, 1)}" for damage in self.damage[:_NAMED])
        more = len(self.damage) - _NAMED
        return named + (f"; and {more} more place{'s' if more > 1 else ''}" if more > 0 else "")
