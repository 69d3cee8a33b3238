"""What generation_config.json says about single tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.text.tokenizer import Tokenizer

STOPS = ("<eos>", "<turn|>", "<|tool_response>")
"""Gemma 4 ends its turn with the second, and waits for a tool with the third; copies of its configs lack some."""


@dataclass(frozen=True)
class GenerationConfig:
    """What generation_config.json says about single tokens."""

    stop: frozenset[int]
    suppress: tuple[int, ...]


def read_generation_config(folder: Path, tokenizer: Tokenizer) -> GenerationConfig:
    """Stop and suppressed tokens; a missing file says nothing. Raises ModelError for a broken one."""
    path = folder / "generation_config.json"
    values: dict[str, Any] = {}
    try:
        if path.is_file():
            values = json.loads(path.read_text(encoding="utf-8"))
        ends = values.get("eos_token_id") or []
        stop = {ends} if isinstance(ends, int) else {int(end) for end in ends}
        suppress = tuple(int(token) for token in values.get("suppress_tokens") or ())
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch the checkpoint again") from error
    stop |= {end for token in STOPS if (end := tokenizer.id_of(token)) is not None}
    return GenerationConfig(frozenset(stop), suppress)
