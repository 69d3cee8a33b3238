"""A tool call and its answer as one line each; nothing in them can drive the terminal or hide in it."""

from __future__ import annotations

import json
from typing import Any

from gemma_cli.core.messages import ToolCall, ToolResponse
from gemma_cli.views.sanitize import safe_json, safe_line

LONGEST = 400
"""Characters of an answer that are shown; all of it is in the session."""


def call_line(call: ToolCall) -> str:
    """`add(a=3, b=5)`: all of it, because somebody is to decide on it; invisible characters are escaped."""
    arguments = ", ".join(f"{safe_line(name)}={_literal(value)}" for name, value in call.arguments.items())
    return f"{safe_line(call.name)}({arguments})"


def answer_line(answer: ToolResponse) -> str:
    """`add: 8`; `add failed: why`."""
    name, response = safe_line(answer.name), answer.response
    if isinstance(response, dict) and set(response) == {"error"}:
        return f"{name} failed: {_shortened(str(response['error']))}"
    return f"{name}: {_shortened(response if isinstance(response, str) else _literal(response))}"


def _literal(value: Any) -> str:
    return safe_line(safe_json(json.dumps(value, ensure_ascii=False)))


def _shortened(text: str) -> str:
    text = safe_line(" ".join(text.split()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
