"""Commands about saved chats."""

from __future__ import annotations

from pathlib import Path

from gemma_cli.core.conversation import opening_words
from gemma_cli.core.errors import UsageError
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.line.paths import paths
from gemma_cli.repl.slash.table import SlashTable
from gemma_cli.store import export
from gemma_cli.store.search import match_line, phrases_in, search
from gemma_cli.store.sessions import SessionStore

table = SlashTable()


def _store(chat: Chat) -> SessionStore:
    if chat.store is None:
        raise UsageError("this chat is not saved (--no-save); to save a copy, type /export FILE")
    return chat.store


@table.add("save", "[NAME]", "give this chat a name (every chat is saved automatically)")
def _save(chat: Chat, rest: str) -> None:
    store = _store(chat)
    if chat.session is None:
        chat.session = store.new()
    if rest:
        chat.session.rename(rest)
    chat.keep(chat.conversation)
    chat.tell(f"saved as '{chat.session.name}'" if chat.session.name else "this chat has no messages to save yet")


@table.add("load", "NAME", "continue a saved chat")
def _load(chat: Chat, rest: str) -> None:
    store = _store(chat)
    if not rest:
        raise UsageError("/load needs the name of a saved chat: /sessions lists the names")
    chat.begin(*store.load(rest))
    chat.recap()


@table.add("sessions", "", "list the saved chats, latest first")
def _sessions(chat: Chat, rest: str) -> None:
    found = _store(chat).list()
    chat.tell("\n".join(f"{s.name}  {s.messages} messages  {s.said_at[:10]}  {s.opening}" for s in found) or "none yet")


@table.add("history", "[WORDS]", "list the messages of this chat, or search all saved chats for words")
def _history(chat: Chat, rest: str) -> None:
    if rest:
        found = search(_store(chat), phrases_in(rest))
        lines = [match_line(match) for match in found]
        chat.tell("\n".join([*lines, "/load NAME continues one"]) if lines else f"no saved chat contains {rest}")
        return
    entries = enumerate(chat.conversation.entries, 1)
    lines = [f"{number}  {entry.message.role}: {opening_words(entry.message)}" for number, entry in entries]
    chat.tell("\n".join(lines) or "nothing yet")


@table.add("export", "FILE", "write this chat to a file as markdown, or as JSON if the name ends in .json")
def _export(chat: Chat, rest: str) -> None:
    if not rest:
        raise UsageError("/export needs a file name, for example chat.md or chat.json")
    path = Path(paths(rest)[0])
    export.write(path, (chat.session.name if chat.session else None) or "chat", chat.conversation)
    chat.tell(f"written to {path}")
