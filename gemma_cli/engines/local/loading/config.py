"""config.json, read here: transformers' own config classes take longer to import than a small model to load.

read_config(folder) -> Config           ModelError or InputError in one line
Config.decoder(), Config.drafter()      the shapes in it, see architecture.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_cli.core.errors import InputError, ModelError
from gemma_cli.engines.local.loading.compressed_tensors import check_quantization
from gemma_cli.engines.local.model.architecture import (
    Architecture,
    DrafterArchitecture,
    read_architecture,
    read_drafter,
)

TARGETS = ("gemma4", "gemma4_unified", "gemma4_text", "gemma4_unified_text")
DRAFTERS = ("gemma4_assistant", "gemma4_unified_assistant")


@dataclass(frozen=True)
class Config:
    """A config.json that was found to describe a Gemma 4 target or drafter. values: all of it."""

    folder: Path
    model_type: str
    values: Mapping[str, Any]

    @property
    def is_target(self) -> bool:
        return self.model_type in TARGETS

    def decoder(self) -> Architecture:
        """Of a target: the shape of its text decoder."""
        return read_architecture(_text(self.model_type, self.values))

    def drafter(self) -> DrafterArchitecture:
        """Of a drafter."""
        return read_drafter(self.values, read_architecture(_text(self.model_type, self.values)))

    def has(self, tower: str) -> bool:
        """Whether "vision_config" or "audio_config" is there: what a picture or a sound takes."""
        return self.values.get(tower) is not None


def read_config(folder: Path) -> Config:
    """The config of a Gemma 4 target or drafter. InputError: no such folder, or not a model's. ModelError: a model,
    but not one this engine runs, or with a broken config.json."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    if not path.is_file():
        raise InputError(f"{folder} has no config.json; name a folder that holds a Gemma 4 checkpoint")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch the checkpoint again") from error
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in TARGETS + DRAFTERS:
        raise ModelError(f"{folder} is not a Gemma 4 model: config.json says model_type {kind!r}")
    check_quantization(folder, values.get("quantization_config"))
    config = Config(folder, kind, values)
    try:
        _ = config.decoder() if config.is_target else config.drafter()
    except ValueError as error:
        raise ModelError(f"{path} is not a valid {kind} config: {error}") from error
    return config


def _text(model_type: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the decoder, with the model_type that its defaults hang on."""
    if model_type.endswith("_text"):
        return values
    text = values.get("text_config") or {}
    if not isinstance(text, Mapping):
        raise ValueError(f"text_config is {text!r}")
    own = "gemma4_unified_text" if model_type.startswith("gemma4_unified") else "gemma4_text"
    return {"model_type": own, **text}
