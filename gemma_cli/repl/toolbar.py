"""The line under the input: the model, how full its context is, and how fast the last reply came."""

from __future__ import annotations

from dataclasses import dataclass

from gemma_cli.core.events import Turn

NEARLY_FULL = 0.8
"""Share of the context from which the line warns."""


@dataclass(frozen=True)
class Status:
    """used and context in tokens; flags: what is switched on, in words."""

    model: str
    used: int
    context: int
    last: Turn | None = None
    flags: tuple[str, ...] = ()
    notice: str = ""


Fragments = list[tuple[str, str]]


def toolbar(status: Status, columns: int) -> Fragments:
    """Styled text of at most `columns` cells; what matters least is left away first."""
    share = status.used / status.context if status.context else 0.0
    full = f"{status.used:,} of {status.context:,} tokens, {share:.0%}"
    warning = share >= NEARLY_FULL
    parts = [
        ("class:toolbar.model", status.model),
        ("class:toolbar.warning" if warning else "class:toolbar", full + (" - nearly full" if warning else "")),
        *(("class:toolbar", flag) for flag in status.flags),
        *(("class:toolbar", figure) for figure in _figures(status.last)),
    ]
    if status.notice:
        parts.insert(0, ("class:toolbar.notice", status.notice))
    fragments: Fragments = []
    room = columns - 1
    for style, text in parts:
        text = f" {text} " if not fragments else f"| {text} "
        if len(text) > room:
            break
        fragments.append((style, text))
        room -= len(text)
    return fragments


def _figures(turn: Turn | None) -> list[str]:
    if turn is None:
        return []
    figures = []
    if (speed := turn.timings.tokens_per_second(turn.usage.completion_tokens)) is not None:
        figures.append(f"{speed:.1f} tokens/s")
    if (rate := turn.speculation.acceptance_rate) is not None:
        figures.append(f"{rate:.0%} of drafts accepted")
    return figures
