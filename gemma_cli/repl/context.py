"""How a chat is fitted into its model's context: what is summarized or dropped, and the notice about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from gemma_cli.core import fitting, summaries
from gemma_cli.core.conversation import Conversation, Entry, opening_words
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Turn, collect
from gemma_cli.core.messages import Request, Text
from gemma_cli.core.summaries import Write
from gemma_cli.repl.settings import Settings
from gemma_cli.views.signals import Cancellation


def space_for(engine: Engine, settings: Settings) -> fitting.Space:
    """Return the space for prompts with a model and settings."""
    return fitting.space(engine, settings.sampling, settings.thinking)


def fitted(asked: Conversation, engine: Engine, settings: Settings, tell: Callable[[str], None]) -> Conversation:
    """Return `asked` with as much of its past as the model can take, and tell what was left out.

    Raises UsageError for media that the model does not take, and for a last message that is too long alone.
    """
    info = engine.info
    parts = [part for entry in asked.entries for part in entry.message.parts if not isinstance(part, Text)]
    foreign = {type(part).__name__.lower() for part in parts} - info.modalities
    if foreign:
        kinds = " and ".join(sorted(foreign))
        raise UsageError(
            f"this chat contains {kinds}, which {info.model} does not "
            "accept: start a new chat with /new, or type /model NAME"
        )
    space = space_for(engine, settings)
    if settings.summarize:
        shortened = summaries.fitted(asked, info.model, space, settings.drafting, writer(engine, tell))
    else:
        shortened = fitting.fitted(asked, space)
    if shortened.shown_from > asked.shown_from:
        left_out = shortened.entries[: shortened.left_out]
        tell(summary_notice(shortened) if shortened.summary else left_out_notice(left_out))
    return shortened


def writer(engine: Engine, tell: Callable[[str], None]) -> Write:
    """Return a function that lets the engine write a summary, without printing it; Ctrl-C cancels."""

    def write(request: Request) -> Turn:
        tell("summarizing the chat; Ctrl+C cancels")
        with Cancellation() as cancellation, closing(engine.stream(request)) as events:
            return collect(cancellation.stream(events))

    return write


def summary_notice(conversation: Conversation) -> str:
    """Return the notice with the summary that replaces earlier messages."""
    return f"the model wrote this summary, which replaces all earlier messages:\n{conversation.summary}"


def left_out_notice(entries: tuple[Entry, ...]) -> str:
    """Return the notice with the first and last of the exchanges that are no longer sent to the model."""
    asked = [entry.message for entry in entries if entry.message.role == "user"]
    span = f"“{opening_words(asked[0])}”"
    if len(asked) > 1:
        span += f" to “{opening_words(asked[-1])}”"
    left_out = "the oldest exchange is" if len(asked) == 1 else f"the {len(asked)} oldest exchanges are"
    return f"the context is full, so {left_out} no longer sent to the model ({span}); to start a new chat, type /new"
