"""Chats on disk: every turn is there once `save` returns, whatever happens to the process or the machine then.

A session is one history under one name. Whoever writes to it says which version of it was read; a chat that finds the
session changed by another goes on under a name of its own (it branches), so two chats never interleave. The order of
turns and of sessions is that of sequence numbers. Attachments are stored once, by the digest their parts carry.
"""

from __future__ import annotations

import difflib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from gemma_cli.core.conversation import Conversation, Entry, opening_words, well_formed
from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import Message, Text
from gemma_cli.store.database import Database
from gemma_cli.store.locks import SessionLock
from gemma_cli.store.session_rows import forget_unused_blobs, insert_entry, read_entries

NAME_LIMIT = 60

SESSIONS = "sessions.db"
"""The database's name in the state folder."""


@dataclass(frozen=True)
class Summary:
    """A line of the list of sessions. said_at: UTC, ISO 8601, of the last message; opening: the first words said."""

    name: str
    messages: int
    said_at: str
    opening: str


Texts = list[tuple[str, int, str, str, str]]


class SessionStore:
    """The sessions database; its methods raise GemmaError with the file and the remedy when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path, self.database = path, Database(path)
        self.holds = SessionLock(path.with_suffix(".lock"))

    @classmethod
    def open(cls, path: Path) -> SessionStore:
        """Open or make the database at `path`, readable by its owner alone; one that cannot be written to is read."""
        return cls(path)

    def close(self) -> None:
        self.holds.close()
        self.database.close()

    @property
    def _db(self) -> sqlite3.Connection:
        return self.database.connection

    # Reading --------------------------------------------------------------------------------------------------------

    def texts(self) -> Texts:
        """Session, number from 0, role, time and text of every message with text; the oldest session first."""
        with self.database.reading() as db:
            rows: Texts = db.execute(
                """SELECT session.name, message.seq, role, said_at,
                          (SELECT group_concat(text, char(10)) FROM
                           (SELECT text FROM part WHERE message_id = message.id AND text != '' ORDER BY seq)) AS words
                   FROM message JOIN session ON session.id = session_id
                   WHERE words IS NOT NULL ORDER BY touched, session.id, message.seq"""
            ).fetchall()
            return rows

    def list(self) -> list[Summary]:
        """Return all sessions, the last written first."""
        with self.database.reading() as db:
            rows = db.execute(
                """SELECT name,
                          (SELECT count(*) FROM message WHERE session_id = session.id),
                          (SELECT max(said_at) FROM message WHERE session_id = session.id),
                          (SELECT message.id FROM message WHERE session_id = session.id AND role = 'user'
                           ORDER BY seq LIMIT 1)
                   FROM session ORDER BY touched DESC, id DESC"""
            ).fetchall()
            return [Summary(name, count, said_at or "", self._opening(first)) for name, count, said_at, first in rows]

    def latest(self) -> str | None:
        """The name of the session last written to."""
        with self.database.reading() as db:
            row = db.execute("SELECT name FROM session ORDER BY touched DESC, id DESC LIMIT 1").fetchone()
            return row[0] if row else None

    def exists(self, name: str) -> bool:
        with self.database.reading() as db:
            row = db.execute("SELECT 1 FROM session WHERE name = ?", (well_formed(name),)).fetchone()
            return row is not None

    def load(self, name: str) -> tuple[Session, Conversation]:
        """A session to go on with, and what was said in it. Raises InputError if there is none of this name."""
        with self.database.reading() as db:
            name = well_formed(name)
            row = db.execute("SELECT id, version, system FROM session WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise InputError(self._unknown(name))
            session_id, version, system = row
            entries = read_entries(db, session_id)
        session = Session(self, name, session_id, version, entries)
        return session, Conversation(system=system, entries=entries)

    def _unknown(self, name: str) -> str:
        names = [row[0] for row in self._db.execute("SELECT name FROM session ORDER BY touched DESC")]
        close = difflib.get_close_matches(name, names, 1)
        remedy = f"did you mean '{close[0]}'?" if close else "/sessions and gemma sessions list the names"
        return f"no saved chat is named '{name[:NAME_LIMIT]}': {remedy}"

    def _opening(self, row: int | None) -> str:
        parts = self._db.execute("SELECT text, name FROM part WHERE message_id = ? ORDER BY seq", (row,)).fetchall()
        words = " ".join(text for text, _ in parts if text) or ", ".join(name for _, name in parts)
        return opening_words(Message("user", (Text(words),)), 60)

    # Writing --------------------------------------------------------------------------------------------------------

    def new(self, name: str | None = None) -> Session:
        """A session to write to; nothing is stored before its first save. Raises InputError if `name` is taken."""
        if name is not None:
            name = valid_name(name)
            if self.exists(name):
                raise InputError(f"a chat named '{name}' already exists: to continue that chat, use /load or --session")
        return Session(self, name)

    def delete(self, name: str) -> None:
        """Remove a session and the attachments no other session holds. Raises InputError if there is none."""
        with self.database.writing() as db:
            if not db.execute("DELETE FROM session WHERE name = ?", (well_formed(name),)).rowcount:
                raise InputError(self._unknown(name))
            forget_unused_blobs(db)
        self.database.shrink()

    def _free_name(self, wanted: str) -> str:
        taken = {row[0] for row in self._db.execute("SELECT name FROM session")}
        numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
        return wanted if wanted not in taken else next(name for name in numbered if name not in taken)


class Session:
    """One chat's hold on its session: what it has stored and at which version. name is None until the first save."""

    def __init__(
        self,
        store: SessionStore,
        name: str | None,
        session_id: int | None = None,
        version: int = 0,
        stored: tuple[Entry, ...] = (),
    ) -> None:
        self.store, self.name = store, name
        self._id, self._version, self._stored = session_id, version, stored
        self._generation = store.database.generation

    def hold(self) -> str | None:
        """Mark this session as the one that is open here. Returns a line for the user where another chat has it open
        too."""
        if self.name is None:
            self.store.holds.release()
        elif not self.store.holds.hold(self.name):
            return (
                f"another process has the chat '{self.name}' open too: the process that saves first keeps the name, "
                "and the other process continues under a new name"
            )
        return None

    def save(self, conversation: Conversation) -> str | None:
        """Make the stored session say what `conversation` says; durable on return.

        Returns a line for the user where this chat is now saved, complete, as a session of its own, `self.name`:
        another chat has written to its session or taken its name, or the database was deleted. A chat without entries
        is not stored.
        """
        if not conversation.entries:
            self._forget()
            return None
        store, entries = self.store, conversation.entries
        left: str | None = None
        with store.database.writing() as db:
            session_id, name, kept = self._id, self.name, self._common(entries)
            moved = self._generation != store.database.generation
            if moved or session_id is None or not self._claim():
                name = store._free_name(name or name_for(entries))
                left = self._leaving(name, moved)
                session_id = db.execute("INSERT INTO session (name) VALUES (?)", (name,)).lastrowid
                kept = 0
            assert session_id is not None
            removed = db.execute("DELETE FROM message WHERE session_id = ? AND seq >= ?", (session_id, kept)).rowcount
            for seq, entry in enumerate(entries[kept:], kept):
                insert_entry(db, session_id, seq, entry)
            if removed:
                forget_unused_blobs(db)
            db.execute(
                """UPDATE session SET system = ?, version = version + 1,
                                      touched = (SELECT max(touched) + 1 FROM session) WHERE id = ?""",
                (well_formed(conversation.system), session_id),
            )
            version = db.execute("SELECT version FROM session WHERE id = ?", (session_id,)).fetchone()[0]
            generation = store.database.generation
        self._id, self.name, self._version, self._stored = session_id, name, version, entries
        self._generation = generation
        self.hold()
        return left

    def _leaving(self, name: str, moved: bool) -> str | None:
        """Why this chat is saved under `name`, where that is news. moved: the database is another one."""
        if moved and self._id is not None:
            return f"{self.store.path} was deleted or replaced, so this chat is saved again as '{name}'"
        if self._id is not None:
            return f"another process changed the chat '{self.name}', so this chat continues under the name '{name}'"
        if self.name not in (None, name):
            return f"another process started a chat '{self.name}', so this chat continues under the name '{name}'"
        return None

    @property
    def lost(self) -> bool:
        """Whether the saved chat was deleted since, with the database."""
        database = self.store.database
        return self._id is not None and (database.gone or self._generation != database.generation)

    def rename(self, name: str) -> None:
        """Give the session another name. Raises InputError if it is taken."""
        name = valid_name(name)
        if self._id is None or self.lost:
            self.store.new(name)
            self.name = name
            return
        try:
            with self.store.database.writing() as db:
                if self._generation == self.store.database.generation:
                    db.execute("UPDATE session SET name = ? WHERE id = ?", (name, self._id))
        except sqlite3.IntegrityError:
            raise InputError(f"a chat named '{name}' already exists: choose another name") from None
        self.name = name

    def _forget(self) -> None:
        """Remove what this chat has stored: all its messages were undone."""
        if self._id is None:
            return
        with self.store.database.writing() as db:
            if self._generation == self.store.database.generation and self._claim():
                db.execute("DELETE FROM session WHERE id = ?", (self._id,))
                forget_unused_blobs(db)
        self._id, self._stored = None, ()

    def _claim(self) -> bool:
        """Whether the session is as this chat left it; the transaction is immediate, so it stays so until commit."""
        row = self.store._db.execute("SELECT version FROM session WHERE id = ?", (self._id,)).fetchone()
        return row is not None and row[0] == self._version

    def _common(self, entries: tuple[Entry, ...]) -> int:
        pairs = zip(self._stored, entries, strict=False)
        return next((i for i, (old, new) in enumerate(pairs) if old != new), min(len(self._stored), len(entries)))


def valid_name(name: str) -> str:
    """`name` trimmed; InputError if it is empty, too long or has characters that do not print."""
    name = " ".join(name.split())
    if not name or len(name) > NAME_LIMIT or not name.isprintable() or name.startswith("-"):
        raise InputError(
            f"'{name[:NAME_LIMIT]}' is not a valid name for a chat: use up to {NAME_LIMIT} printable characters"
        )
    return name


def name_for(entries: tuple[Entry, ...]) -> str:
    """Make a name from the first words, one that is easy to type: 'how-do-i-sort-a-list'."""
    said = opening_words(entries[0].message, 120).lower()
    words = "".join(c if c.isalnum() else " " for c in well_formed(said)).split()
    name = ""
    for word in words:
        if len(name) + len(word) >= 32:
            break
        name = f"{name}-{word}" if name else word
    return name or "chat"
