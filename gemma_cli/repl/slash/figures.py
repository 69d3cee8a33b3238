"""Figures that /stats and /tokens show: speed and acceptance of a reply, and how full the context is."""

from __future__ import annotations

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.events import Turn
from gemma_cli.core.fitting import Space
from gemma_cli.repl.context import summary_notice


def reply_figures(turn: Turn) -> str:
    """Describe the tokens, speed and acceptance of a reply, one fact per line."""
    usage, timings, speculation = turn.usage, turn.timings, turn.speculation
    lines = [f"{usage.prompt_tokens} tokens read, {usage.completion_tokens} written, {usage.thinking_tokens} thought"]
    if not usage.prompt_tokens:
        lines = ["the reply was cut off before the tokens were counted"]
    if timings.ttft_s is not None:
        lines.append(f"time to first token {timings.ttft_s:.2f} s")
    if (speed := timings.tokens_per_second(usage.completion_tokens)) is not None:
        lines.append(f"{speed:.1f} tokens/s over {timings.decode_s:.2f} s")
    if speculation.acceptance_rate is not None:
        shares = " ".join(f"{share:.0%}" for share in speculation.acceptance_by_position or ())
        lines.append(
            f"{speculation.acceptance_rate:.0%} of {speculation.drafted} drafted "
            f"tokens accepted (by position {shares}), mean acceptance length "
            f"{speculation.mean_acceptance_length:.2f}, {speculation.target_passes} passes"
        )
    if copied := speculation.of("lookup").accepted:
        lines.append(f"{copied} of {speculation.accepted} accepted tokens were copied from the context")
    if speculation.remark:
        lines.append(speculation.remark)
    return "\n".join(lines)


def context_figures(conversation: Conversation, space: Space) -> str:
    """Describe how full the context is, one fact per line."""
    exact = conversation.used is not None
    used = conversation.size()
    if not exact and space.count and conversation.entries:
        used, exact = space.count(conversation), True
    lines = [
        f"{used:,} of {space.context:,} tokens ({used / space.context:.0%}), {'counted' if exact else 'estimated'}",
        f"{max(0, space.room - used):,} tokens are left for the next "
        f"message; {space.reserve:,} more are reserved for the reply",
    ]
    if first := conversation.shown_from:
        lines.append(f"the oldest {first} messages are no longer sent to the model")
    if conversation.summary:
        lines.append(summary_notice(conversation))
    return "\n".join(lines)
