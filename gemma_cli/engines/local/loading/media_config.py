"""A checkpoint's towers and processors as transformers' own classes, made from checked fields alone.

stock_config(...)                        a tower as transformers' modules take it
image_processor, feature_extractor       how pictures and sounds are prepared

Transformers reads what config_schema.py lists and nothing else, so no other field of a file reaches its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.model.schema import config_schema
from gemma_cli.engines.local.model.schema.json_fields import FieldError, Object
from gemma_cli.store.json_file import read_object

if TYPE_CHECKING:
    from gemma_cli.engines.local.loading.config import Config


PROCESSOR = "processor_config.json"
PREPROCESSOR = "preprocessor_config.json"


def stock_config(config: Config, tower: str) -> Any:
    """Return a tower's config as transformers' class: "vision_config" or "audio_config"."""
    from transformers import CONFIG_MAPPING

    kind = f"{config.model_type}_{tower.removesuffix('_config')}"
    return CONFIG_MAPPING[kind](**config.towers[tower])


def stock_text_config(config: Config) -> Any:
    """Return the output width that towers must have for the decoder."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[f"{config.model_type}_text"](hidden_size=config.decoder().hidden)


def check_size(config: Config, tower: str, stored: int) -> None:
    """Raise ModelError where the layers that config.json describes have far more numbers than the files hold: such a
    tower would take the memory before the first weight is compared. stored: of the files."""
    described = config.towers[tower]
    if config.unified or not (numbers := _numbers(described)) > 2 * stored:
        return
    raise ModelError(
        f"{config.folder / 'config.json'}: {tower} describes {numbers:.1e} weights, but the files have only "
        f"{stored:.1e}; download the checkpoint again"
    )


def _numbers(tower: Mapping[str, Any]) -> int:
    """Return the number of a tower's weights, except small ones."""
    hidden, layers = tower["hidden_size"], tower["num_hidden_layers"]
    if "intermediate_size" not in tower:
        channels: list[int] = tower["subsampling_conv_channels"]
        return int(layers * 24 * hidden**2 + channels[0] // 4 * channels[1] * hidden)
    heads = 2 * (tower["num_attention_heads"] + tower["num_key_value_heads"]) * tower["head_dim"]
    table = 2 * tower["position_embedding_size"] + 3 * tower["patch_size"] ** 2
    return int(hidden * (layers * (heads + 3 * tower["intermediate_size"]) + table))


def image_processor(config: Config) -> Any:
    """Return the image processor. Raises ModelError."""
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    values, path = _processor(config.folder, "image_processor", config_schema.IMAGE_PROCESSOR)
    vision = config.towers["vision_config"]
    for name in ("patch_size", "pooling_kernel_size"):
        _agree(path, name, values[name], vision[name], f"vision_config.{name}")
    if config.unified:  # without a tower, patches are as large as the pooled ones elsewhere
        values |= {"patch_size": values["patch_size"] * values["pooling_kernel_size"], "pooling_kernel_size": 1}
    return Gemma4ImageProcessorPil(**values)


def image_processor_fields(config: Config) -> dict[str, Any]:
    """Return the checked fields of the image processor. Raises ModelError."""
    return _processor(config.folder, "image_processor", config_schema.IMAGE_PROCESSOR)[0]


def feature_extractor(config: Config) -> Any:
    """Return the audio feature extractor. Raises ModelError."""
    from transformers import Gemma4AudioFeatureExtractor, Gemma4UnifiedAudioFeatureExtractor

    audio = config.towers["audio_config"]
    if config.unified:
        values, path = _processor(config.folder, "feature_extractor", config_schema.UNIFIED_FEATURE_EXTRACTOR)
        samples = values["audio_samples_per_token"]
        _agree(path, "audio_samples_per_token", samples, audio["audio_embed_dim"], "audio_config.audio_embed_dim")
        return Gemma4UnifiedAudioFeatureExtractor(**values)
    values, path = _processor(config.folder, "feature_extractor", config_schema.FEATURE_EXTRACTOR)
    bins = values["feature_size"]
    halved_twice = -(-bins // 4)
    taken = audio["subsampling_conv_channels"][0] // 4
    _agree(path, "a quarter of feature_size", halved_twice, taken, "a quarter of subsampling_conv_channels[0]")
    for name in ("per_bin_mean", "per_bin_stddev"):
        if values[name] is not None:
            _agree(path, f"the length of {name}", len(values[name]), bins, "feature_size")
    return Gemma4AudioFeatureExtractor(**values)


def _processor(folder: Path, part: str, rule: Object) -> tuple[dict[str, Any], Path]:
    """The checked fields of a part of processor_config.json, or of preprocessor_config.json where older checkpoints
    keep them, and the path of that file."""
    path = folder / PROCESSOR
    nested = read_object(path) or {}
    values: Any = nested.get(part)
    if values is None:
        path = folder / PREPROCESSOR
        values = read_object(path)
    if values is None:
        raise ModelError(f"{folder}: {PROCESSOR} and {PREPROCESSOR} are missing; download the checkpoint again")
    try:
        return rule.check(values, part if path.name == PROCESSOR else ""), path
    except FieldError as error:
        raise ModelError(f"{path}: {error}; download the checkpoint again") from None


def _agree(path: Path, name: str, value: int, expected: int, other: str) -> None:
    if value != expected:
        raise ModelError(f"{path}: {name} is {value}, but {other} is {expected}; download the checkpoint again")
