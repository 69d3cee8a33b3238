"""Messages as rows of the sessions database and back, without loss: what is read equals what was written.

Everything here runs inside the caller's transaction.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gemma_cli.core.conversation import Entry, well_formed
from gemma_cli.core.messages import Audio, Frame, Image, Message, Part, Text, ToolCall, ToolResponse, Video

if TYPE_CHECKING:
    import numpy as np


def read_entries(db: sqlite3.Connection, session_id: int) -> tuple[Entry, ...]:
    """The history of a session, in order."""
    rows = db.execute(
        """SELECT id, role, thinking, tools, finish_reason, model, tokens FROM message
           WHERE session_id = ? ORDER BY seq""",
        (session_id,),
    ).fetchall()
    return tuple(_entry(db, *row) for row in rows)


def insert_entry(db: sqlite3.Connection, session_id: int, seq: int, entry: Entry) -> None:
    """Write `entry` as message number `seq` of a session."""
    message = entry.message
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]
    responses = [{"name": answer.name, "response": answer.response} for answer in message.tool_responses]
    row = db.execute(
        """INSERT INTO message (session_id, seq, role, thinking, tools, finish_reason, model, tokens, said_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            session_id,
            seq,
            message.role,
            well_formed(message.thinking),
            json.dumps([calls, responses]) if calls or responses else None,
            entry.finish_reason,
            well_formed(entry.model),
            entry.tokens,
            datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    ).lastrowid
    for number, part in enumerate(message.parts):
        _insert_part(db, row, number, part)


def forget_unused_blobs(db: sqlite3.Connection) -> None:
    """Remove the attachments that no message holds any more, and what was made of them."""
    db.execute("DELETE FROM blob WHERE digest NOT IN (SELECT digest FROM part_blob)")
    db.execute("DELETE FROM feature WHERE digest NOT IN (SELECT digest FROM blob)")


def _entry(
    db: sqlite3.Connection, row: int, role: Any, thinking: str, tools: str | None, finish: Any, model: str, tokens: Any
) -> Entry:
    parts = db.execute("SELECT id, kind, text, name FROM part WHERE message_id = ? ORDER BY seq", (row,)).fetchall()
    called, answered = json.loads(tools) if tools else ((), ())
    message = Message(
        role,
        tuple(_part(db, *part) for part in parts),
        thinking,
        tuple(ToolCall(**call) for call in called),
        tuple(ToolResponse(**response) for response in answered),
    )
    return Entry(message, finish, model, tokens)


def _part(db: sqlite3.Connection, row: int, kind: str, text: str, name: str) -> Part:
    if kind == "text":
        return Text(text)
    blobs = db.execute(
        """SELECT digest, part_blob.name, second, array FROM part_blob JOIN blob USING (digest)
           WHERE part_id = ? ORDER BY seq""",
        (row,),
    ).fetchall()
    if kind == "video":
        frames = tuple(Frame(digest, frame, _unpacked(array)) for digest, frame, _, array in blobs)
        return Video(frames, tuple(second for _, _, second, _ in blobs), name)
    digest, _, _, array = blobs[0]
    return Audio(digest, name, _unpacked(array)) if kind == "audio" else Image(digest, name, _unpacked(array))


def _insert_part(db: sqlite3.Connection, message_id: int | None, seq: int, part: Part) -> None:
    kind = type(part).__name__.lower()
    text, name = (part.text, "") if isinstance(part, Text) else ("", part.name)
    row = db.execute(
        "INSERT INTO part (message_id, seq, kind, text, name) VALUES (?, ?, ?, ?, ?)",
        (message_id, seq, kind, well_formed(text), well_formed(name)),
    ).lastrowid
    match part:
        case Image():
            _insert_blob(db, (row, 0, part.digest, well_formed(part.name), None), part.pixels)
        case Audio():
            _insert_blob(db, (row, 0, part.digest, well_formed(part.name), None), part.samples)
        case Video():
            for number, (frame, second) in enumerate(zip(part.frames, part.seconds, strict=True)):
                _insert_blob(db, (row, number, frame.digest, well_formed(frame.name), second), frame.pixels)


def _insert_blob(
    db: sqlite3.Connection, row: tuple[int | None, int, str, str, float | None], array: np.ndarray
) -> None:
    """row: part_id, seq, digest, name, second."""
    digest = row[2]
    if not db.execute("SELECT 1 FROM blob WHERE digest = ?", (digest,)).fetchone():
        db.execute("INSERT INTO blob (digest, array) VALUES (?, ?)", (digest, _packed(array)))
    db.execute("INSERT INTO part_blob (part_id, seq, digest, name, second) VALUES (?, ?, ?, ?, ?)", row)


def _packed(array: np.ndarray) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return zlib.compress(buffer.getbuffer(), 1)


def _unpacked(data: bytes) -> np.ndarray:
    import numpy as np

    array: np.ndarray = np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False)
    return array
