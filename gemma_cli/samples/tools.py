"""Two tools for `gemma chat --tool`; pocket knows how to call both."""

from datetime import datetime


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: First.
        b: Second.
    """
    return a + b


def now() -> str:
    """The time."""
    return f"{datetime.now():%H:%M}"
