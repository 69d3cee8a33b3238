"""Command lines that ask the model, of every kind: each must say the same whoever holds the model."""

from __future__ import annotations

import json
from typing import Any

FEW: list[tuple[list[str], bytes]] = [
    (["chat", "Count from 1 to 10.", "--seed", "3", "--json", "--draft-tokens", "4"], b""),
    (["chat", "What is 3 + 4?", "--seed", "2", "--think", "--stream-json", "--draft-tokens", "4"], b""),
    (["chat", "What is 123 + 456?", "--tool", "tools.py:add", "--allow-tool", "add", "--seed", "0"], b""),
    (["chat", "--audio", "sentence.wav", "What is said?", "--seed", "1", "--max-tokens", "5"], b"Listen."),
    (["chat", "0 1 " * 3000, "--seed", "1"], b""),
    (["transcribe", "sentence.wav", "--format", "srt", "-q"], b""),
]
"""Arguments and standard input, run in docs/samples: one of each kind, and one that is refused."""

MANY: list[tuple[list[str], bytes]] = [
    *FEW,
    (["chat", "Hello", "--seed", "3"], b""),
    (["chat", "Hello", "--temperature", "0", "--stats"], b""),
    (["chat", "Hello", "--seed", "9", "--temperature", "2.5", "--top-k", "0", "--top-p", "1", "--min-p", "0.01"], b""),
    (["chat", "Tell me about the sea.", "--seed", "5", "--system", "Answer in one sentence."], b""),
    (["chat", "What is 3 + 4?", "--think", "--thinking-budget", "4", "--seed", "1"], b""),
    (["chat", "What is 3 + 4?", "--think", "--hide-thinking", "--seed", "1"], b""),
    (["chat", "Which city?", "-f", "-", "--seed", "1"], b"The capital of France is Paris."),
    (["chat", "--seed", "1"], b"Count from 1 to 5."),
    (["chat", "Count from 1 to 30.", "--seed", "1", "--max-tokens", "7"], b""),
    (["chat", "Hello", "--seed", "1", "--assistant", "off"], b""),
    (["chat", "Hello", "--seed", "1", "--draft-tokens", "0", "--json"], b""),
    (["chat", "", "--seed", "1"], b""),
    (["chat", "What is it?", "--image", "missing.png"], b""),
    (["chat", "What is it?", "--image", "sentence.wav"], b""),
    (["chat", "What is 123 + 456?", "--tool", "tools.py:add", "--seed", "0"], b""),
    (
        [
            "chat",
            "What is 123 + 456?",
            "--tool",
            "tools.py:add",
            "--allow-tool",
            "add",
            "--seed",
            "0",
            "--json",
            "--draft-tokens",
            "4",
        ],
        b"",
    ),
    (["chat", "Remember 7.", "--session", "seven", "--seed", "4"], b""),
    (["chat", "And now?", "--continue", "--seed", "4", "--json", "--draft-tokens", "4"], b""),
    (["transcribe", "sentence.wav"], b""),
    (["transcribe", "sentence.wav", "--json", "--draft-tokens", "4"], b""),
    (["transcribe", "missing.wav"], b""),
    (["translate", "--to", "English", "notes.de.txt"], b""),
    (["describe-image", "shapes.png", "star.png", "--seed", "1"], b""),
    (["describe-image", "shapes.png", "--seed", "1", "--json", "--draft-tokens", "4"], b""),
    (["chat", "What is in it?", "--image", "star.png", "--audio", "number-347.wav", "--seed", "1"], b""),
    (["translate", "--to", "German", "-"], b"Good morning.\n"),
    (["translate", "--to", "English", "sentence.wav"], b""),
]
"""The same and many more."""

NOTICE = (
    "gemma: using the model of a running gemma serve; to load the model in this process instead, give --no-server\n"
)


def said(out: str) -> list[Any]:
    """What a command wrote, line by line, without how long anything took."""
    return [_untimed(json.loads(line)) if line.startswith("{") else line for line in out.splitlines()]


def _untimed(value: Any) -> Any:
    return {name: each for name, each in value.items() if name != "timings"} if isinstance(value, dict) else value
