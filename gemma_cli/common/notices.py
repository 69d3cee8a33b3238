"""Notices on stderr: one line each, safe for a terminal."""

from __future__ import annotations

import sys

from gemma_cli.core.events import Turn
from gemma_cli.views.sanitize import safe_line


def notice(message: str) -> None:
    """Print one line on stderr."""
    print(f"gemma: {safe_line(message)}", file=sys.stderr, flush=True)


def heading(name: str, size: int) -> str:
    """Which of several inputs the next answer belongs to, as head(1) writes it; nothing for a single one."""
    return f"==> {safe_line(name)} <==\n" if size > 1 else ""


def figures(turn: Turn) -> str:
    """Speed and acceptance of a reply."""
    usage, timings, speculation = turn.usage, turn.timings, turn.speculation
    thought = f", {usage.thinking_tokens} of them thinking" if usage.thinking_tokens else ""
    said = [f"{usage.prompt_tokens} tokens read, {usage.completion_tokens} written{thought}"]
    if usage.media_tokens and usage.media_encoded is not None:
        said.append(
            f"{usage.media_tokens} of the prompt tokens from pictures and "
            f"sound, {usage.media_encoded or 'none'} of these newly encoded"
        )
    if timings.ttft_s is not None:
        said.append(f"first after {timings.ttft_s:.2f} s")
    if (speed := timings.tokens_per_second(usage.completion_tokens)) is not None:
        said.append(f"then {speed:.1f} tokens/s")
    if speculation.acceptance_rate is not None:
        said.append(
            f"{speculation.acceptance_rate:.0%} of drafted tokens accepted, "
            f"mean acceptance length {speculation.mean_acceptance_length:.2f}"
        )
    if copied := speculation.of("lookup").accepted:
        said.append(f"{copied} of {speculation.accepted} accepted tokens copied from the context")
    if speculation.remark:
        said.append(speculation.remark)
    return ", ".join(said)
