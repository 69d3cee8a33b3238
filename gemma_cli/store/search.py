"""Full-text search over the saved chats.

The index is SQLite's FTS5, made in memory for each search: nothing that was deleted stays behind in it, a database
that can only be read is searched too, and no write waits for it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemma_cli.core.conversation import well_formed
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store.sessions import SessionStore

EXCERPT_WORDS = 16
MARKS = ("[", "]")
"""Before and after what was found, in an excerpt."""


@dataclass(frozen=True)
class Match:
    """A search result. message: its number in the chat, from 1; said_at: UTC, ISO 8601."""

    session: str
    message: int
    role: str
    said_at: str
    excerpt: str


def phrases_in(text: str) -> list[str]:
    """The words of a line; those in double quotes are one phrase."""
    return [quoted or word for quoted, word in re.findall(r'"([^"]+)"|([^\s"]+)', text)]


def match_line(match: Match) -> str:
    """A match on one line."""
    return f"{match.session}  {match.message}  {match.said_at[:10]}  {match.role}: {match.excerpt}"


def search(store: SessionStore, phrases: Sequence[str], limit: int = 20) -> list[Match]:
    """The messages in which all phrases occur, the best first: words in any case, with accents or without.

    A phrase that ends in * also finds longer words. Where no word matches, parts of words are looked for: some
    languages write no blanks. Raises UsageError, GemmaError.
    """
    wanted = [" ".join(well_formed(phrase).split()) for phrase in phrases]
    if not any(any(map(str.isalnum, phrase)) for phrase in wanted):
        raise UsageError("no search words: give at least one word")
    index = _index(store.texts())
    try:
        rows = _by_words(index, [phrase for phrase in wanted if any(map(str.isalnum, phrase))], limit)
        rows = rows or _by_parts(index, wanted, limit)
    finally:
        index.close()
    return [Match(name, seq + 1, role, at, " ".join(excerpt.split())) for name, seq, role, at, excerpt in rows]


def _index(texts: Iterable[tuple[str, int, str, str, str]]) -> sqlite3.Connection:
    index = sqlite3.connect(":memory:")
    try:
        index.execute(
            """CREATE VIRTUAL TABLE message USING fts5(
                session UNINDEXED, seq UNINDEXED, role UNINDEXED, said_at UNINDEXED, text,
                tokenize = "unicode61 remove_diacritics 2")"""
        )
    except sqlite3.OperationalError as error:
        index.close()
        raise GemmaError(
            f"chats cannot be searched, because SQLite in this Python has no FTS5 ({error}): use another Python"
        ) from None
    index.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?)", texts)
    return index


Rows = list[tuple[str, int, str, str, str]]


def _by_words(index: sqlite3.Connection, phrases: Sequence[str], limit: int) -> Rows:
    terms = [f'"{_quoted(phrase.removesuffix("*"))}"{"*" * phrase.endswith("*")}' for phrase in phrases]
    return index.execute(
        """SELECT session, seq, role, said_at, snippet(message, 4, ?, ?, '…', ?) FROM message
           WHERE message MATCH ? ORDER BY rank, rowid DESC LIMIT ?""",
        (*MARKS, EXCERPT_WORDS, " AND ".join(terms), limit),
    ).fetchall()


def _by_parts(index: sqlite3.Connection, phrases: Sequence[str], limit: int) -> Rows:
    folded = [phrase.removesuffix("*").casefold() for phrase in phrases]
    found: Rows = []
    for name, seq, role, at, text in index.execute("SELECT * FROM message ORDER BY rowid DESC"):
        line = " ".join(text.split())
        if len(found) < limit and all(phrase in line.casefold() for phrase in folded):
            found.append((name, seq, role, at, _around(line, folded[0])))
    return found


def _around(line: str, phrase: str, characters: int = 40) -> str:
    """The first place of a phrase in a line, marked, with what stands around it."""
    start = line.lower().find(phrase)
    if start < 0:  # only its case-folded form occurs, which may be longer or shorter
        return line[: 2 * characters]
    end = start + len(phrase)
    before = ("…" if start > characters else "") + line[max(0, start - characters) : start]
    after = line[end : end + characters] + ("…" if len(line) > end + characters else "")
    return f"{before}{MARKS[0]}{line[start:end]}{MARKS[1]}{after}"


def _quoted(text: str) -> str:
    return text.replace('"', '""')
