"""What can be changed in the middle of a chat: frozen values, and the words that change them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Drafting, Sampling

THOUGHT_TOKENS = 4096
"""The longest reply when the model thinks first, as on the command line."""


@dataclass(frozen=True)
class Settings:
    """thinking: the model thinks first; thoughts: how much of that is shown; raw: markdown is shown as written.

    thinking_budget: tokens of thought at most; None: no limit. summarize: what the window has no room for any more is
    summarized, not left out.
    """

    sampling: Sampling
    drafting: Drafting
    thinking: bool = False
    thoughts: Literal["folded", "full", "hidden"] = "folded"
    raw: bool = False
    thinking_budget: int | None = None
    summarize: bool = False


@dataclass(frozen=True)
class Knob:
    """A value of /set: where it is, how it reads, and what it may be."""

    get: Callable[[Settings], float]
    put: Callable[[Settings, float], Settings]
    whole: bool
    lowest: float
    highest: float
    says: str


def _sampling(field: str, whole: bool, lowest: float, highest: float, says: str) -> Knob:
    def put(settings: Settings, value: float) -> Settings:
        return replace(settings, sampling=replace(settings.sampling, **{field: value}))  # type: ignore[arg-type]

    return Knob(lambda settings: getattr(settings.sampling, field), put, whole, lowest, highest, says)


KNOBS = {
    "temperature": _sampling("temperature", False, 0, 100, "0 is greedy"),
    "top-p": _sampling("top_p", False, 0, 1, "1: no limit"),
    "top-k": _sampling("top_k", True, 0, 1 << 18, "0: no limit"),
    "seed": _sampling("seed", True, 0, 2**32 - 1, "the same seed gives the same text"),
    "max-tokens": _sampling("max_tokens", True, 1, 1 << 18, "the longest reply"),
    "thinking-budget": Knob(
        lambda settings: settings.thinking_budget or 0,
        lambda settings, value: replace(settings, thinking_budget=int(value) or None),
        True,
        0,
        1 << 18,
        "with /think on: tokens of thought at most; 0: no limit",
    ),
    "draft-tokens": Knob(
        lambda settings: settings.drafting.draft_tokens,
        lambda settings, value: replace(settings, drafting=Drafting(int(value))),
        True,
        0,
        16,
        "tokens drafted per target pass; 0 decodes plainly, the text stays the same",
    ),
}


def thinking(settings: Settings, on: bool) -> Settings:
    """With thinking switched; a limit of tokens that was never changed grows, for thoughts count too."""
    sampling = settings.sampling
    if on and sampling.max_tokens == Sampling().max_tokens:
        sampling = replace(sampling, max_tokens=THOUGHT_TOKENS)
    return replace(settings, thinking=on, sampling=sampling)


def reseeded(settings: Settings) -> Settings:
    """The next seed: the same one would give the same reply again."""
    sampling = settings.sampling
    return replace(settings, sampling=replace(sampling, seed=(sampling.seed + 1) % 2**32))


def changed(settings: Settings, name: str, text: str) -> Settings:
    """`settings` with `name` set to what `text` says. Raises UsageError naming the range."""
    knob = knob_named(name)
    kind = "a whole number" if knob.whole else "a number"
    highest = f"{knob.highest:g}" if knob.highest < 1 << 18 else f"{int(knob.highest)}"
    remedy = f"{name} takes {kind} from {knob.lowest:g} to {highest}"
    try:
        value: float = int(text) if knob.whole else float(text)
    except ValueError:
        raise UsageError(f"'{text}': {remedy}") from None
    if not (math.isfinite(value) and knob.lowest <= value <= knob.highest):
        raise UsageError(f"{text}: {remedy}")
    return knob.put(settings, value)


def knob_named(name: str) -> Knob:
    """The knob, or UsageError with the nearest there is."""
    if knob := KNOBS.get(name.replace("_", "-")):
        return knob
    close = get_close_matches(name, KNOBS, 1)
    remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(KNOBS)}"
    raise UsageError(f"nothing is called '{name}' here: {remedy}")
