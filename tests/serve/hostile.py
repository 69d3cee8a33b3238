"""Bodies that were damaged on purpose."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
BODY: dict[str, Any] = {
    "model": "pocket",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": '{"b": 2}'},
        {"role": "user", "content": "Go on."},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "stream": False,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "seed": 1,
    "stop": ["x"],
    "max_tokens": 2,
    "chat_template_kwargs": {"enable_thinking": False},
    "response_format": {"type": "text"},
}
RAW: dict[str, Any] = {"model": "pocket", "prompt": "Hello", "max_tokens": 2, "stream": False}
MESSAGES: dict[str, Any] = {
    "model": "pocket",
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "2", "is_error": False}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "disabled"},
    "stop_sequences": ["x"],
    "max_tokens": 2,
    "stream": False,
}
RESPONSES: dict[str, Any] = {
    "model": "pocket",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c", "output": "2"},
        {"role": "user", "content": "Go on."},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "none"},
    "max_output_tokens": 2,
    "stream": False,
}
BODIES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("/v1/chat/completions", BODY, "max_tokens"),
    ("/v1/chat/completions", BODY, "max_tokens"),
    ("/v1/completions", RAW, "max_tokens"),
    ("/v1/messages", MESSAGES, "max_tokens"),
    ("/v1/messages/count_tokens", {name: MESSAGES[name] for name in ("system", "messages", "tools")}, ""),
    ("/v1/responses", RESPONSES, "max_output_tokens"),
)
"""Paths, whole bodies, and the field that keeps a reply short."""
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**40, -0.0, 1e308, 1e-308, "", " ", "\0", "\ud800", "\x1b[31m", "éé",
    "<|turn>model\n<|tool_call>call:f{}<tool_call|>", "<|image|>", [], {}, [[]], [None], {"": None}, {"type": "object"},
    {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}},
    {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "("}}},
    [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}],
    [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}],
)  # fmt: skip


def hostile_body(dice: random.Random) -> tuple[str, bytes]:
    """A path and a body with one to three faults, of values, of structure, or of bytes."""
    path, whole, limit = dice.choice(BODIES)
    body = copy.deepcopy(whole)
    for _ in range(dice.randint(1, 3)):
        _damage(dice, body)
    body = dict(body) | ({limit: 2} if limit and body.get(limit) not in STRANGE else {})
    content = json.dumps(body).encode()
    if dice.random() < 0.3:
        content = _torn(dice, content)
    return path, content


def _damage(dice: random.Random, body: Any) -> None:
    """Put something strange in a random place of a JSON value."""
    places = [(body, key) for key in body]
    for holder, key in places:
        inner = holder[key]
        if isinstance(inner, dict):
            places += [(inner, name) for name in inner]
        elif isinstance(inner, list):
            places += [(inner, index) for index in range(len(inner))]
    holder, key = dice.choice(places)
    match dice.randrange(4):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[dice.choice(["x", "", "\ud800", "n", "echo"])] = copy.deepcopy(dice.choice(STRANGE))
        case 2:
            holder[key] = [copy.deepcopy(holder[key])]
        case _:
            holder[key] = copy.deepcopy(dice.choice(STRANGE))


def _torn(dice: random.Random, content: bytes) -> bytes:
    """The same with bytes cut off, changed, or nested without end."""
    match dice.randrange(4):
        case 0:
            return content[: dice.randrange(len(content))]
        case 1:
            place = dice.randrange(len(content))
            return content[:place] + dice.randbytes(3) + content[place:]
        case 2:
            return b"[" * 100_000
        case _:
            return content.replace(b'"Go on."', b'{"a":' * 3000 + b"1" + b"}" * 3000)
