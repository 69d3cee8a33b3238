"""What towers made of the media of saved chats, kept with them: a chat that goes on does not encode a picture again."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from gemma_cli.core.errors import GemmaError
from gemma_cli.store.sessions import SessionStore

MOST = 256 << 20
"""Bytes of features that are kept; the oldest go first."""


class FeatureStore:
    """A shelf in the database of sessions. Trouble with it costs time and nothing else."""

    def __init__(self, store: SessionStore, most: int = MOST) -> None:
        self._database, self._most = store.database, most

    def find(self, digest: str, tower: str) -> bytes | None:
        """Return the features of a medium by that tower."""
        with suppress(GemmaError, sqlite3.Error), self._database.reading() as db:
            row = db.execute("SELECT rows FROM feature WHERE digest = ? AND tower = ?", (digest, tower)).fetchone()
            return bytes(row[0]) if row else None
        return None

    def keep(self, digest: str, tower: str, rows: bytes) -> None:
        """Keep the features of a medium."""
        if len(rows) > self._most:
            return
        with suppress(GemmaError, sqlite3.Error), self._database.writing() as db:
            db.execute("INSERT OR REPLACE INTO feature (digest, tower, rows) VALUES (?, ?, ?)", (digest, tower, rows))
            there = db.execute("SELECT coalesce(sum(length(rows)), 0) FROM feature").fetchone()[0]
            while there > self._most:
                oldest, length = db.execute("SELECT id, length(rows) FROM feature ORDER BY id LIMIT 1").fetchone()
                db.execute("DELETE FROM feature WHERE id = ?", (oldest,))
                there -= length
