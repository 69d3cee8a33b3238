"""The saved chat that the command line selects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gemma_cli.common.notices import notice
from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import Engine, Remembering
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.store.paths import state_dir

if TYPE_CHECKING:  # it takes sqlite3 and more, and most single answers are not saved
    from gemma_cli.store.sessions import Session, SessionStore


@dataclass(frozen=True)
class SavedChat:
    """A saved chat and its conversation; without store and session it is not saved."""

    store: SessionStore | None = None
    session: Session | None = None
    conversation: Conversation = Conversation()


def remembering(engine: Engine, kept: SavedChat) -> Engine:
    """The engine, which keeps with a saved chat what its towers make of pictures and sounds."""
    if kept.store and isinstance(engine, Remembering):
        from gemma_cli.store.features import FeatureStore

        engine.remember_on(FeatureStore(kept.store))
    return engine


def open_store() -> SessionStore:
    """The sessions of this user. Raises GemmaError."""
    from gemma_cli.store.sessions import SESSIONS, SessionStore

    return SessionStore.open(state_dir() / SESSIONS)


def kept(go_on: bool, name: str | None, save: bool, begin: bool) -> SavedChat:
    """The latest session (go_on), the one of that name, or, to begin with, a new one. Raises GemmaError."""
    if go_on and name is not None:
        raise UsageError(
            "--continue and --session cannot be combined: give --continue "
            "for the latest chat, or --session NAME for another chat"
        )
    if not save:
        if go_on or name is not None:
            raise UsageError(
                "--continue and --session need saved chats, but saving "
                "is off (--no-save or save = false): give --save too"
            )
        return SavedChat()
    if go_on:
        store = open_store()
        return _warned(_loaded(store, store.latest()))
    if name is not None:
        return _warned(_named(name))
    return _begun() if begin else SavedChat()


def _warned(kept: SavedChat) -> SavedChat:
    """`kept`, with a notice where another chat has its session open."""
    if kept.session and (line := kept.session.hold()):
        notice(line)
    return kept


def _named(name: str) -> SavedChat:
    """Open the chat of that name, or a new one. A disk that cannot hold it does not prevent the chat."""
    from gemma_cli.store.sessions import SESSIONS, valid_name

    valid_name(name)
    try:
        store = open_store()
    except GemmaError as error:
        if _holds_chats(state_dir() / SESSIONS):
            raise  # one of that name may be among them
        notice(f"{error}; this chat will not be saved")
        return SavedChat()
    return _loaded(store, name) if store.exists(name) else SavedChat(store, store.new(name))


def _holds_chats(path: Path) -> bool:
    """Return whether the database has, or may have, saved chats."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return True


def _loaded(store: SessionStore, name: str | None) -> SavedChat:
    if name is None:
        raise InputError("no chat is saved yet: start a chat with gemma chat")
    session, conversation = store.load(name)
    return SavedChat(store, session, conversation)


def _begun() -> SavedChat:
    """Create a session. A disk that cannot hold one does not prevent the chat."""
    try:
        store = open_store()
    except GemmaError as error:
        notice(f"{error}; this chat will not be saved")
        return SavedChat()
    return SavedChat(store, store.new())


@dataclass
class ChatSaver:
    """Saves what belongs to a chat. A disk that cannot hold it costs one notice and no answer."""

    kept: SavedChat
    failed: bool = False

    def __call__(self, conversation: Conversation) -> None:
        """Save the conversation as far as it has come."""
        if self.kept.session is None:
            return
        try:
            line = self.kept.session.save(conversation)
        except GemmaError as error:
            line = None if self.failed else f"{error}; this chat will not be saved"
            self.failed = True
        if line:
            notice(line)
