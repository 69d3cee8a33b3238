"""The chat on a terminal, put together: engine, session, editor, and what the views may ask of the world."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from gemma_cli import __version__
from gemma_cli.common.notices import figures
from gemma_cli.common.opening import busy, start
from gemma_cli.common.options import EngineOptions, OutputOptions
from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import Engine
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import Part
from gemma_cli.engines import open_engine
from gemma_cli.repl.chat import Chat, ChatHost
from gemma_cli.repl.editor import Editor, history_at
from gemma_cli.repl.loop import run
from gemma_cli.repl.saved_chat import SavedChat, remembering
from gemma_cli.repl.settings import Settings
from gemma_cli.store.models.catalogue import catalogue
from gemma_cli.store.paths import state_dir
from gemma_cli.tools import Toolbox
from gemma_cli.views.console import terminal
from gemma_cli.views.signals import kept_terminal, orderly_exit, silent_input, suspendable


def talk(
    options: EngineOptions,
    output: OutputOptions,
    keeping: SavedChat,
    conversation: Conversation,
    settings: Settings,
    box: Toolbox,
    read: Callable[..., Part],
) -> None:
    """Load the model and talk until the user leaves. What is typed while it loads waits for the first prompt.

    read: reads an attachment, see `ChatHost`.
    """
    with orderly_exit(), kept_terminal(), suspendable(), silent_input():
        _talk(options, output, keeping, conversation, settings, box, read)


def _talk(
    options: EngineOptions,
    output: OutputOptions,
    keeping: SavedChat,
    conversation: Conversation,
    settings: Settings,
    box: Toolbox,
    read: Callable[..., Part],
) -> None:
    engine = remembering(start(options, output), keeping)

    def another(name: str) -> Engine:
        with busy(f"loading {name}", output):
            return remembering(open_engine(replace(options, model=name, assistant=None).spec()), keeping)

    def heard(turn: Turn) -> None:
        if output.stats:
            chat.tell(figures(turn))

    chat = Chat(
        engine,
        settings,
        out=terminal(sys.stdout),
        err=terminal(sys.stderr),
        outside=ChatHost(read, another, models_here, heard),
        conversation=conversation.counted_by(engine.info.model),
        store=keeping.store,
        session=keeping.session,
        box=box,
    )
    if not output.quiet:
        welcome(chat)
    run(chat, Editor(chat, history_at(state_dir() / "history" if keeping.store else None)))


def welcome(chat: Chat) -> None:
    """Print the model in use, how to get help, and the end of a continued chat."""
    chat.tell(f"gemma {__version__}, {chat.engine.info.model} on {chat.engine.info.device}; /help, Ctrl+D leaves")
    chat.recap()


def models_here() -> list[str]:
    """Return the names that /model accepts: the targets on this disk, by the shortest name they have."""
    here = (entry for entry in catalogue() if entry.kind == "target" and entry.state in ("bundled", "cached"))
    return [entry.alias or entry.name for entry in here]
