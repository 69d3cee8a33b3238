"""The checked vision and audio towers of a config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemma_cli.engines.local.model.schema import config_schema
from gemma_cli.engines.local.model.schema.json_fields import FieldError

_TOWERS = {
    "gemma4": {"vision_config": config_schema.VISION, "audio_config": config_schema.AUDIO},
    "gemma4_unified": {"vision_config": config_schema.UNIFIED_VISION, "audio_config": config_schema.UNIFIED_AUDIO},
}

MOST_CONTEXT = 16
"""Frames that one frame of an audio tower sees, in chunks: 2 in those that are released."""


def read_towers(model_type: str, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Check the towers that a config describes. Raises FieldError."""
    schemas = _TOWERS.get(model_type, {})
    towers = {name: rule.check(values[name], name) for name, rule in schemas.items() if values.get(name) is not None}
    if model_type == "gemma4":
        for name, check in (("vision_config", _check_vision), ("audio_config", _check_audio)):
            if name in towers:
                check(towers[name])
    return towers


def _check_vision(vision: Mapping[str, Any]) -> None:
    heads, keys, dim = vision["num_attention_heads"], vision["num_key_value_heads"], vision["head_dim"]
    if heads % keys:
        raise FieldError(
            "vision_config.num_key_value_heads",
            keys,
            f"but num_attention_heads ({heads}) must be a multiple of num_key_value_heads",
        )
    if dim % 4:
        raise FieldError("vision_config.head_dim", dim, "but a multiple of 4 is required")


def _check_audio(audio: Mapping[str, Any]) -> None:
    hidden, heads = audio["hidden_size"], audio["num_attention_heads"]
    if hidden % 2 or hidden % heads:
        raise FieldError(
            "audio_config.hidden_size",
            hidden,
            f"but an even number that is divisible by num_attention_heads ({heads}) is required",
        )
    chunk = audio["attention_chunk_size"]
    seen = audio["attention_context_left"] + audio["attention_context_right"]
    if seen > MOST_CONTEXT * chunk:
        raise FieldError(
            "audio_config.attention_context_left",
            seen,
            f"but the left and right context together may have at most {MOST_CONTEXT} chunks",
        )
