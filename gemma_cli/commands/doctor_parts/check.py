"""One check of `gemma doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The result of a check.

    ok: whether it passed; None for a plain fact.
    remedy: what to do if it failed.
    """

    name: str
    found: str
    ok: bool | None = None
    remedy: str | None = None
