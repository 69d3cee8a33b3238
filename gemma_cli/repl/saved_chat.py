"""Where a chat is kept: which session the command line asks for, opened."""

from __future__ import annotations

from dataclasses import dataclass

from gemma_cli.common.notices import notice
from gemma_cli.core.conversation import Conversation
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.store.paths import state_dir
from gemma_cli.store.sessions import Session, SessionStore


@dataclass(frozen=True)
class Kept:
    """A chat on disk and what was said in it; without store and session it is not kept."""

    store: SessionStore | None = None
    session: Session | None = None
    conversation: Conversation = Conversation()  # noqa: RUF009 - frozen


def open_store() -> SessionStore:
    """The sessions of this user. Raises GemmaError."""
    return SessionStore.open(state_dir() / "sessions.db")


def kept(go_on: bool, name: str | None, save: bool, begin: bool) -> Kept:
    """The latest session (go_on), the one of that name, or, to begin with, a new one. Raises GemmaError."""
    if go_on and name is not None:
        raise UsageError("--continue goes on with the latest chat and --session with one of your choice: take one")
    if not save:
        if go_on or name is not None:
            raise UsageError("--no-save keeps nothing: leave it out to go on with a chat")
        return Kept()
    if go_on:
        store = open_store()
        return _loaded(store, store.latest())
    if name is not None:
        store = open_store()
        return _loaded(store, name) if store.exists(name) else Kept(store, store.new(name))
    return _begun() if begin else Kept()


def _loaded(store: SessionStore, name: str | None) -> Kept:
    if name is None:
        raise InputError("there is no chat to go on with yet: run gemma chat")
    session, conversation = store.load(name)
    return Kept(store, session, conversation)


def _begun() -> Kept:
    """A new session; a disk that cannot hold one does not stand in the way of talking."""
    try:
        store = open_store()
    except GemmaError as error:
        notice(f"{error}; this chat is not kept")
        return Kept()
    return Kept(store, store.new())
