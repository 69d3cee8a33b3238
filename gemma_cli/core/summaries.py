"""What the model itself writes of a chat that has become too long for its window, and goes on from.

A summary stands among the entries of a conversation, in place of all before it; those stay kept, and can be read. The
model is shown it with the system prompt. It is written greedily, without thoughts, and always told to the user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import GREEDY, Drafting, Request

PROMPT = (
    "Summarize our conversation so far, so that it can be continued from the summary alone. Keep names, numbers, "
    "decisions and open questions. Write nothing but the summary."
)
LONGEST = 512
"""Tokens of a summary, or an eighth of the context where that is less."""

Write = Callable[[Request], Turn]
"""Asks the model."""


def fitted(asked: Conversation, info: EngineInfo, reserve: int, drafting: Drafting, write: Write) -> Conversation:
    """`asked.fitted`, with a summary of what would be left out; left out where the model writes none that fits."""
    short = asked.fitted(info.context, reserve)
    if short.shown_from <= asked.shown_from:
        return short
    summarized = _summarized(asked, short.shown_from, info, drafting, write)
    return summarized if summarized and summarized.size() <= info.context - reserve else short


def compact(conversation: Conversation, info: EngineInfo, drafting: Drafting, write: Write) -> Conversation:
    """With a summary in place of all that was said. UsageError where nothing was, or the model writes nothing."""
    if conversation.shown_from >= len(conversation.entries) - 1:
        raise UsageError("there is nothing to summarize yet")
    summarized = _summarized(conversation, len(conversation.entries), info, drafting, write)
    if summarized is None:
        raise UsageError("no summary was written: all stays as it was")
    return summarized


def request(conversation: Conversation, context: int, drafting: Drafting) -> Request:
    """What is asked for the summary of a conversation."""
    longest = min(LONGEST, context // 8)
    asked = replace(conversation, staged=(), tools=()).saying(PROMPT).fitted(context, longest)
    return asked.request(replace(GREEDY, max_tokens=longest), drafting, thinking=False)


def _summarized(
    conversation: Conversation, end: int, info: EngineInfo, drafting: Drafting, write: Write
) -> Conversation | None:
    turn = write(request(conversation.before(end), info.context, drafting))
    text = turn.text.strip()
    return conversation.summarized(end, text, info.model) if text and turn.finish_reason != "interrupted" else None
