"""Export of a session: markdown to read, JSON to process."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from gemma_cli.core.conversation import Conversation, Entry
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.messages import Part, Text

SPEAKERS = {"user": "You", "assistant": "Gemma", "system": "Summary of earlier messages", "tool": "Tool"}


def to_markdown(name: str, conversation: Conversation) -> str:
    """Format a session with one heading per message, thoughts folded in <details>, and attachments by name."""
    blocks = [f"# {name}"]
    if conversation.system:
        blocks += ["## System", conversation.system]
    for entry in conversation.entries:
        blocks += [f"## {SPEAKERS[entry.message.role]}", *_blocks(entry)]
    return "\n\n".join(blocks) + "\n"


def write(path: Path, name: str, conversation: Conversation) -> None:
    """Write a new file that only its owner can read: JSON if its name ends in .json. Raises InputError, GemmaError."""
    document = (to_json if path.suffix == ".json" else to_markdown)(name, conversation)
    created = False
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        created = True
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(document)
    except FileExistsError:
        raise InputError(f"{path} exists: choose another name") from None
    except (OSError, ValueError) as error:
        if created:  # half of it, which would be in the way of another try
            with suppress(OSError):
                path.unlink()
        raise GemmaError(
            f"{path}: the file cannot be written ({getattr(error, 'strerror', None) or error}); name another file"
        ) from error


def _blocks(entry: Entry) -> list[str]:
    message = entry.message
    blocks = []
    if message.thinking:
        blocks.append(f"<details><summary>Thoughts</summary>\n\n{message.thinking.strip()}\n\n</details>")
    for part in message.parts:
        blocks.append(part.text if isinstance(part, Text) else f"*[{_kind(part)}: {part.name}]*")
    blocks += [_json_block(f"calls {call.name}", dict(call.arguments)) for call in message.tool_calls]
    blocks += [_json_block(f"{answer.name} answers", answer.response) for answer in message.tool_responses]
    if entry.cut_off:
        blocks.append("*[cut off]*")
    return blocks


def _json_block(heading: str, value: Any) -> str:
    """Indented, which no content can end as it could end a fence."""
    lines = json.dumps(value, ensure_ascii=False, indent=2).splitlines()
    return f"*[{heading}]*\n\n" + "\n".join(f"    {line}" for line in lines)


def to_json(name: str, conversation: Conversation) -> str:
    """Return one object: {"name", "system", "messages": [{"role", "text", "thinking", "attachments", ...}]}."""
    document = {
        "name": name,
        "system": conversation.system or None,
        "messages": [_message(entry) for entry in conversation.entries],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _message(entry: Entry) -> dict[str, Any]:
    message = entry.message
    attachments = [{"kind": _kind(part), "name": part.name} for part in message.parts if not isinstance(part, Text)]
    return {
        "role": message.role,
        "text": message.text,
        "thinking": message.thinking or None,
        "attachments": attachments,
        "tool_calls": [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls] or None,
        "tool_responses": [{"name": r.name, "response": r.response} for r in message.tool_responses] or None,
        "finish_reason": entry.finish_reason,
        "model": entry.model or None,
    }


def _kind(part: Part) -> str:
    return type(part).__name__.lower()
