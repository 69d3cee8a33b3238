"""transformers' own towers and processors for pictures and sound, each loaded when first needed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.loading import checkpoint, media_config
from gemma_cli.engines.local.loading.config import Config


class StockTowers:
    """The towers and processors of one checkpoint, on the decoder's device and in its dtype."""

    def __init__(self, folder: Path, config: Config | None, device: torch.device, dtype: torch.dtype) -> None:
        """config: None for a model of text only."""
        self.folder, self.config, self.device, self.dtype = folder, config, device, dtype
        self.unified = config is not None and config.unified

    @property
    def described(self) -> Config:
        if self.config is None:
            raise ModelError(f"{self.folder} takes only text")
        return self.config

    @cached_property
    def image_processor(self) -> Any:
        return media_config.image_processor(self.described)

    @cached_property
    def feature_extractor(self) -> Any:
        return media_config.feature_extractor(self.described)

    @cached_property
    def vision(self) -> Any:
        from transformers.models.gemma4.modeling_gemma4 import Gemma4MultimodalEmbedder, Gemma4VisionModel
        from transformers.models.gemma4_unified.modeling_gemma4_unified import Gemma4UnifiedVisionEmbedder

        vision = media_config.stock_config(self.described, "vision_config")
        text = media_config.stock_text_config(self.described)
        if self.unified:
            projection = {f"multimodal_embedder.{key}": it for key, it in self._stored("embed_vision").items()}
            stored = self._stored("vision_embedder") | projection
            return self._load("vision_embedder", lambda: Gemma4UnifiedVisionEmbedder(vision, text), stored)
        return {
            "tower": self._tower("vision", lambda: Gemma4VisionModel(vision)),
            "embed": self._load("embed_vision", lambda: Gemma4MultimodalEmbedder(vision, text)),
        }

    @cached_property
    def audio(self) -> Any:
        from transformers.models.gemma4.modeling_gemma4 import Gemma4AudioModel, Gemma4MultimodalEmbedder
        from transformers.models.gemma4_unified.modeling_gemma4_unified import Gemma4UnifiedMultimodalEmbedder

        audio = media_config.stock_config(self.described, "audio_config")
        text = media_config.stock_text_config(self.described)
        if self.unified:
            return self._load("embed_audio", lambda: Gemma4UnifiedMultimodalEmbedder(audio, text))
        return {
            "tower": self._tower("audio", lambda: Gemma4AudioModel(audio), tables=self.dtype),
            "embed": self._load("embed_audio", lambda: Gemma4MultimodalEmbedder(audio, text)),
        }

    def _tower(self, kind: str, build: Callable[[], nn.Module], tables: torch.dtype = torch.float32) -> nn.Module:
        stored = self._stored(f"{kind}_tower")
        media_config.check_size(self.described, f"{kind}_config", sum(tensor.numel() for tensor in stored.values()))
        return self._load(f"{kind}_tower", build, stored, tables)

    def _stored(self, name: str) -> dict[str, Tensor]:
        return checkpoint.tensors(self.folder, f"model.{name}.")

    def _load(
        self,
        name: str,
        build: Callable[[], nn.Module],
        stored: dict[str, Tensor] | None = None,
        tables: torch.dtype = torch.float32,
    ) -> nn.Module:
        """The module with the checkpoint's weights in place of its own.

        stored: those weights, if they are not simply what is called `name`. tables: what dtype from_pretrained leaves
        the buffers in that a module computes for itself.
        """
        from transformers.initialization import no_init_weights

        with no_init_weights():
            module = build()
        stored = self._stored(name) if stored is None else stored
        found = {key: tensor.to(self.device, self.dtype) for key, tensor in stored.items()}
        try:
            missing, unexpected = module.load_state_dict(found, strict=False, assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{self.folder}: the weights of {name} do not match "
                f"config.json ({reason}); download the checkpoint again"
            ) from error
        parameters = {key for key, _ in module.named_parameters()}
        if lacking := [key for key in missing if key in parameters]:
            raise ModelError(
                f"{self.folder}: tensor model.{name}.{lacking[0]} is missing; download the checkpoint again"
            )
        if unexpected:
            raise ModelError(
                f"{self.folder}: config.json does not describe the tensor "
                f"model.{name}.{unexpected[0]}; download the checkpoint again"
            )
        for key in {key for key, _ in module.named_buffers()} - module.state_dict().keys():
            owner, _, own = key.rpartition(".")
            part = module.get_submodule(owner)
            setattr(part, own, getattr(part, own).to(tables))
        return module.to(self.device).eval()


@cache
def import_without_temporary_folder() -> None:
    """Let transformers be imported where no temporary file can be written.

    It imports torch's compiler, which asks for a folder of temporary files and ends in FileNotFoundError without one.
    Nothing is compiled here, so any folder that exists will do.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.sep)
