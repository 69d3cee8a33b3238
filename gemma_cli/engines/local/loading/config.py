"""config.json, read here: transformers' own config classes take longer to import than a small model to load.

read_config(folder) -> Config           ModelError or InputError in one line
Config.decoder(), Config.drafter()      the shapes in it, see architecture.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_cli.core.errors import InputError, ModelError
from gemma_cli.engines.local.loading.compressed_tensors import check_quantization
from gemma_cli.engines.local.loading.tower_schema import read_towers
from gemma_cli.engines.local.model.schema.architecture import (
    Architecture,
    DrafterArchitecture,
    check_target,
    read_architecture,
    read_drafter,
)
from gemma_cli.engines.local.model.schema.json_fields import FieldError, OneOf, shown
from gemma_cli.store.json_file import read_object

TARGETS = ("gemma4", "gemma4_unified", "gemma4_text", "gemma4_unified_text")
DRAFTERS = ("gemma4_assistant", "gemma4_unified_assistant")


@dataclass(frozen=True)
class Config:
    """The checked config.json of a Gemma 4 target or drafter. values: all of it. towers: the checked "vision_config"
    and "audio_config", as far as they are there."""

    folder: Path
    model_type: str
    values: Mapping[str, Any]
    towers: Mapping[str, Mapping[str, Any]]

    @property
    def is_target(self) -> bool:
        return self.model_type in TARGETS

    @property
    def unified(self) -> bool:
        """Whether this is a model without encoders, as the 12B model is."""
        return self.model_type == "gemma4_unified"

    def decoder(self) -> Architecture:
        """Shape of a target's text decoder."""
        text, where = _text(self.model_type, self.values)
        decoder = read_architecture(text, where)
        check_target(decoder, where)
        return decoder

    def drafter(self) -> DrafterArchitecture:
        """Shape of a drafter."""
        text, where = _text(self.model_type, self.values)
        return read_drafter(self.values, read_architecture(text, where), where)

    def has(self, tower: str) -> bool:
        """Return whether "vision_config" or "audio_config" is present, which pictures or sound need."""
        return tower in self.towers


def read_config(folder: Path) -> Config:
    """The config of a Gemma 4 target or drafter. InputError: no such folder, or not a model's. ModelError: a model,
    but not one this engine runs, or with a broken config.json."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    values = read_object(path)
    if values is None:
        raise InputError(f"{folder}: the folder has no config.json; name the folder of a Gemma 4 checkpoint")
    kind = values.get("model_type")
    if kind not in TARGETS + DRAFTERS:
        raise ModelError(
            f"{folder}: not a Gemma 4 model (config.json has the model_type {shown(kind)}); choose another --model"
        )
    check_quantization(path, values.get("quantization_config"))
    try:
        config = Config(folder, kind, values, read_towers(kind, values))
        _ = config.decoder() if config.is_target else config.drafter()
    except FieldError as error:
        raise ModelError(f"{path}: {error}; download the checkpoint again") from None
    return config


def _text(model_type: str, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the part that describes the decoder, the model_type that selects its defaults, and the prefix of its field
    names."""
    if model_type.endswith("_text"):
        return values, ""
    text = values.get("text_config")
    if not isinstance(text, Mapping | None):
        raise FieldError("text_config", text, "but an object is required")
    text = text or {}
    own = "gemma4_unified_text" if model_type.startswith("gemma4_unified") else "gemma4_text"
    if (kind := text.get("model_type")) is not None:
        OneOf((own,)).check(kind, "text_config.model_type")
    return {**text, "model_type": own}, "text_config."
