"""What generation_config.json says about single tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.model.schema.config_schema import GENERATION
from gemma_cli.engines.local.model.schema.json_fields import FieldError, Integer
from gemma_cli.engines.local.text.tokenizer import Tokenizer
from gemma_cli.store.json_file import read_object

STOPS = ("<eos>", "<turn|>", "<|tool_response>")
"""Gemma 4 ends its turn with the second, and waits for a tool with the third; copies of its configs lack some."""


@dataclass(frozen=True)
class GenerationConfig:
    """What generation_config.json says about single tokens."""

    stop: frozenset[int]
    suppress: tuple[int, ...]


def read_generation_config(folder: Path, tokenizer: Tokenizer, vocab: int) -> GenerationConfig:
    """Stop and suppressed tokens; a missing file says nothing. vocab: ids the weights know. Raises ModelError."""
    path = folder / "generation_config.json"
    try:
        values = GENERATION.check(read_object(path) or {})
        for index, token in enumerate(values["suppress_tokens"]):
            Integer(0, vocab - 1).check(token, f"suppress_tokens[{index}]")
        if len(set(values["suppress_tokens"])) == vocab:
            raise FieldError(
                "suppress_tokens",
                values["suppress_tokens"],
                "but the model must have at least one token that is not suppressed",
            )
    except FieldError as error:
        raise ModelError(f"{path}: {error}; download the checkpoint again") from None
    ends = values["eos_token_id"]
    stop = {ends} if isinstance(ends, int) else set(ends)
    stop |= {end for token in STOPS if (end := tokenizer.id_of(token)) is not None}
    return GenerationConfig(frozenset(stop), tuple(values["suppress_tokens"]))
