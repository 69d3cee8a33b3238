"""The sessions database: opened, and opened again when it was replaced or becomes writable.

A database that cannot be written to, because its folder is read-only or the disk is full, is still read. One that was
deleted or replaced is noticed before the next statement: SQLite itself would go on writing to the file that is gone.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gemma_cli.core.errors import GemmaError
from gemma_cli.store.bounded_read import check_regular
from gemma_cli.store.session_schema import NewerSchema, connect, connect_read_only


class Database:
    """connection: autocommit. generation: how often another file was opened under the same name.

    Its methods raise GemmaError with the file and the remedy when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.generation = path, 0
        with _translated(path):
            self._open()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run statements that write nothing, in one transaction."""
        with self._using(), _transaction(self.connection, "BEGIN"):
            yield self.connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run statements in one transaction that is durable at the end."""
        with self._using():
            if self._read_only:
                before = self._opened
                self.connection.close()
                self._open()
                self.generation += self._opened != before
            if self._read_only:
                raise self._read_only
            with _transaction(self.connection, "BEGIN IMMEDIATE"):
                yield self.connection

    @property
    def gone(self) -> bool:
        """Whether the file was deleted or replaced since it was opened."""
        return _identity(self.path) != self._opened

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def shrink(self) -> None:
        """Overwrite what was deleted, in the write-ahead log too."""
        with self._using():
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open(self) -> None:
        self._read_only: Exception | None = None
        self._opened: tuple[int, int] | None = (0, 0)  # no file's, so that a failure here is followed by another try
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(self.path)
            self.connection = connect(str(self.path))
        except (OSError, sqlite3.OperationalError) as error:
            connection = None if "locked" in str(error) else connect_read_only(self.path)
            if connection is None:
                raise
            self.connection, self._read_only = connection, error
        self._opened, self._log = _identity(self.path), _identity(self._log_file)

    @contextmanager
    def _using(self) -> Iterator[None]:
        if self.gone:
            self._remove_log()
            self.connection.close()
            with _translated(self.path):
                self._open()
            self.generation += 1
        with _translated(self.path):
            yield
        self._log = _identity(self._log_file)

    @property
    def _log_file(self) -> Path:
        """Path of the write-ahead log, which SQLite finds only by its name."""
        return self.path.with_name(f"{self.path.name}-wal")

    def _remove_log(self) -> None:
        """Remove the log of the database that is gone: it would be applied to the one in its place.

        While the connection is open no other file can have the log's inode.
        """
        if self._log and _identity(self._log_file) == self._log:
            with suppress(OSError):
                self._log_file.unlink()
            with suppress(OSError):
                self.path.with_name(f"{self.path.name}-shm").unlink()


def _create(path: Path) -> None:
    """Create an empty file that only its owner can read, if there is none: SQLite gives -wal and -shm the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
    try:
        check_regular(descriptor)
    finally:
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn foreign exceptions into one line for the user."""
    try:
        yield
    except NewerSchema as error:
        raise GemmaError(f"{path}: a newer version of gemma wrote this file (schema {error}); update gemma") from error
    except sqlite3.IntegrityError:
        raise
    except sqlite3.OperationalError as error:
        remedy = (
            "another gemma process is using the file; try again"
            if "locked" in str(error)
            else "check the disk and the permissions of the file"
        )
        raise GemmaError(f"{path}: chats cannot be saved ({error}); {remedy}") from error
    except (sqlite3.DatabaseError, zlib.error) as error:
        raise GemmaError(
            f"{path}: the file is damaged ({error}); move the file away, and gemma will start a new file"
        ) from error
    except OSError as error:
        remedy = "check the permissions of the folder"
        raise GemmaError(f"{path}: chats cannot be saved ({error.strerror}); {remedy}") from error
