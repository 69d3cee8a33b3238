"""Summaries that the model writes of a chat that no longer fits into the context.

A summary stands among the entries of a conversation, in place of all before it; those stay kept, and can be read. The
model is shown it with the system prompt. It is written greedily, without thoughts, and always told to the user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gemma_cli.core import fitting
from gemma_cli.core.conversation import Conversation
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Turn
from gemma_cli.core.fitting import Space
from gemma_cli.core.messages import GREEDY, Drafting, Request

PROMPT = (
    "Summarize our conversation so far, so that it can be continued from the summary alone. Keep names, numbers, "
    "decisions and open questions. Write nothing but the summary."
)
LONGEST = 512
"""Tokens of a summary, or an eighth of the context where that is less."""

Write = Callable[[Request], Turn]
"""Asks the model."""


def fitted(asked: Conversation, model: str, space: Space, drafting: Drafting, write: Write) -> Conversation:
    """Return what `fitting.fitted` gives, with a summary of what it leaves out if the model writes one that fits."""
    short = fitting.fitted(asked, space)
    if short.shown_from <= asked.shown_from:
        return short
    summarized = _summarized(asked, short.shown_from, model, space, drafting, write)
    return summarized if summarized and fitting.fits(summarized, space) else short


def compact(conversation: Conversation, model: str, space: Space, drafting: Drafting, write: Write) -> Conversation:
    """With a summary in place of all that was said. UsageError where nothing was, or the model writes nothing."""
    if conversation.shown_from >= len(conversation.entries) - 1:
        raise UsageError("the chat has no messages to summarize yet")
    summarized = _summarized(conversation, len(conversation.entries), model, space, drafting, write)
    if summarized is None:
        raise UsageError("the model wrote no summary; the chat is unchanged")
    return summarized


def request(conversation: Conversation, space: Space, drafting: Drafting) -> Request:
    """Return the request for a summary of a conversation."""
    longest = min(LONGEST, space.context // 8)
    asked = replace(conversation, staged=(), tools=()).saying(PROMPT)
    asked = fitting.fitted(asked, replace(space, reserve=longest))
    return asked.request(replace(GREEDY, max_tokens=longest), drafting, thinking=False)


def _summarized(
    conversation: Conversation, end: int, model: str, space: Space, drafting: Drafting, write: Write
) -> Conversation | None:
    turn = write(request(conversation.before(end), space, drafting))
    text = turn.text.strip()
    return conversation.summarized(end, text, model) if text and turn.finish_reason != "interrupted" else None
