"""Summaries in an interactive chat: the request, and the notice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import Engine
from gemma_cli.core.events import Turn, collect
from gemma_cli.core.messages import Request
from gemma_cli.core.summaries import Write
from gemma_cli.views.signals import Cancellation


def writer(engine: Engine, tell: Callable[[str], None]) -> Write:
    """Asks the engine, undrawn; Ctrl-C cancels."""

    def write(request: Request) -> Turn:
        tell("summarizing the chat; Ctrl+C cancels")
        with Cancellation() as cancellation, closing(engine.stream(request)) as events:
            return collect(cancellation.stream(events))

    return write


def summary_notice(conversation: Conversation) -> str:
    """Return the notice with the summary that replaces earlier messages."""
    return f"this summary by the model replaces all earlier messages:\n{conversation.summary}"
