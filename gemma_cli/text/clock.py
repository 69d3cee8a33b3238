"""Seconds as hours, minutes and seconds."""

from __future__ import annotations


def clock(seconds: float, decimals: int = 0, point: str = ".", hours: int = 1) -> str:
    """H:MM:SS, with a fraction of so many decimals after `point`. hours: digits of the hours, at least."""
    whole, fraction = divmod(max(0, round(seconds * 10**decimals)), 10**decimals)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    shown = f"{hour:0{hours}}:{minute:02}:{second:02}"
    return f"{shown}{point}{fraction:0{decimals}}" if decimals else shown
