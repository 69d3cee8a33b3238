"""The layout of the sessions database, and how an older one becomes the newest.

`PRAGMA user_version` counts the migrations applied. A migration runs inside one immediate transaction that first looks
again at the version, so any number of processes may start at once on an empty or old database: one migrates, the
others find it done.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 10.0
"""Seconds to wait for another process to finish its write."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # version counts the writes, so that two chats on one session notice each other; touched orders sessions by
        # their last write, because clocks jump. said_at is for display only.
        """CREATE TABLE session (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            system TEXT NOT NULL DEFAULT '',
            version INTEGER NOT NULL DEFAULT 0,
            touched INTEGER NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE message (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session_id INTEGER NOT NULL REFERENCES session ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            role TEXT NOT NULL,
            thinking TEXT NOT NULL,
            tools TEXT,
            finish_reason TEXT,
            model TEXT NOT NULL,
            tokens INTEGER,
            said_at TEXT NOT NULL,
            UNIQUE (session_id, seq)
        )""",
        # text belongs to kind 'text'; name and the rows of part_blob to the others.
        """CREATE TABLE part (
            id INTEGER PRIMARY KEY,
            message_id INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('text', 'image', 'audio', 'video')),
            text TEXT NOT NULL DEFAULT '',
            name TEXT NOT NULL DEFAULT '',
            UNIQUE (message_id, seq)
        )""",
        # An array (numpy's own format, zlib) by the digest its message part carries: stored once however often used.
        "CREATE TABLE blob (digest TEXT PRIMARY KEY, array BLOB NOT NULL) WITHOUT ROWID",
        # One row of an image or an audio, one per frame of a video with the second it was taken at.
        """CREATE TABLE part_blob (
            part_id INTEGER NOT NULL REFERENCES part ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            digest TEXT NOT NULL REFERENCES blob,
            name TEXT NOT NULL DEFAULT '',
            second REAL,
            PRIMARY KEY (part_id, seq)
        ) WITHOUT ROWID""",
        "CREATE INDEX part_blob_digest ON part_blob (digest)",
    ),
    (
        # What a tower made of a medium, by its digest; it goes with the last message that holds the medium, or when
        # there are too many of them (store/features.py), the oldest first.
        """CREATE TABLE feature (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            digest TEXT NOT NULL,
            tower TEXT NOT NULL,
            rows BLOB NOT NULL,
            UNIQUE (digest, tower)
        )""",
    ),
)


class NewerSchema(Exception):
    """The database was written by a later version of the program; the argument is its schema version."""


def connect(path: str) -> sqlite3.Connection:
    """A connection on the newest schema, in autocommit mode. Raises sqlite3.Error, NewerSchema."""
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        # Switching to WAL asks for an exclusive lock without waiting for it, whatever the busy timeout says.
        _patiently(lambda: db.execute("PRAGMA journal_mode = WAL"))
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA secure_delete = ON")
        if _version(db) != len(MIGRATIONS):
            _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def connect_read_only(path: Path) -> sqlite3.Connection | None:
    """A connection on the newest schema that writes nothing, not even the files SQLite keeps next to the database.

    None where there is no database to be read like that.
    """
    if not path.is_file():
        return None
    written = path.with_name(f"{path.name}-wal")
    ways = ["mode=ro"]  # reads what is in the -wal file, and needs the -shm file for it
    if not written.exists() or not written.stat().st_size:
        ways.append("mode=ro&immutable=1")
    for way in ways:
        db = None
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?{way}", timeout=PATIENCE, isolation_level=None, uri=True)
            if _version(db) == len(MIGRATIONS):
                return db
        except sqlite3.Error:
            pass
        if db:
            db.close()
    return None


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db)
        if version > len(MIGRATIONS):
            raise NewerSchema(version)
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


_T = TypeVar("_T")


def _patiently(action: Callable[[], _T]) -> _T:
    """The result of `action`, tried again while another process holds the lock, for at most PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
