"""Pictures and sounds -> rows of the decoder's input: transformers' own towers, each loaded when first needed.

Images are prepared by the PIL processor, so torchvision is not needed; for the "unified" models, which have no towers
and project 48-pixel patches, the same processor cuts patches of that size, which is what its own one arrives at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gemma_cli.core.engine import FeatureShelf
from gemma_cli.core.errors import InputError, ModelError
from gemma_cli.core.messages import MAX_AUDIO_S, SAMPLE_RATE, Audio, Frame, Image
from gemma_cli.engines.local.device import is_out_of_memory
from gemma_cli.engines.local.encoders import frames
from gemma_cli.engines.local.encoders.audio_batch import AudioBatcher
from gemma_cli.engines.local.encoders.kept_features import KeptFeatures
from gemma_cli.engines.local.encoders.picture_batch import PictureBatcher, PicturePatches
from gemma_cli.engines.local.encoders.stock_towers import StockTowers, import_without_temporary_folder
from gemma_cli.engines.local.loading import media_config
from gemma_cli.engines.local.loading.config import Config
from gemma_cli.engines.local.text.prompt import Medium

KEPT = 128
"""Features held for reuse, least recently used first out: a minute of video at one frame a second, twice."""


class MediaEncoders:
    """The features of media for one checkpoint, on the decoder's device and in its dtype."""

    def __init__(self, folder: Path, config: Config | None, device: torch.device, dtype: torch.dtype) -> None:
        """The image and audio towers of a checkpoint. config: None for a model of text only."""
        self.folder, self.config, self.device, self.dtype = folder, config, device, dtype
        self.stock = StockTowers(folder, config, device, dtype)
        self.unified = self.stock.unified
        self._kept: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        self._counts: dict[tuple[str, int], int] = {}
        self._shelf: KeptFeatures | None = None
        self.encoded = 0  # media that went through a tower
        self._sounds = AudioBatcher(self._embedded)
        self._pictures = PictureBatcher(self._seen, self._soft_tokens)

    @property
    def modalities(self) -> frozenset[str]:
        """Return the media that the checkpoint takes; a video is a series of images with times."""
        if self.config is None:
            return frozenset()
        image = {"image", "video"} if self.config.has("vision_config") else set()
        audio = {"audio"} if self.config.has("audio_config") else set()
        return frozenset(image | audio)

    @property
    def image_budget(self) -> int | None:
        """Soft tokens of a picture at most where a request does not say; None where the checkpoint takes none."""
        if "image" not in self.modalities:
            return None
        try:
            return int(media_config.image_processor_fields(self.stock.described)["max_soft_tokens"])
        except ModelError:  # said when a picture is to be prepared
            return None

    def remember_on(self, shelf: FeatureShelf, checkpoint: str) -> None:
        """Look for features on a shelf before they are made. checkpoint: tells this one from others."""
        self._shelf = KeptFeatures(shelf, checkpoint, self.device, self.dtype, self.stock.described.decoder().hidden)

    def forget(self) -> None:
        """Drop all features: they are computed again when needed."""
        self._kept.clear()

    def count(self, medium: Medium, image_budget: int | None) -> int:
        """Return the number of rows of `features`. Counts are remembered, so media already in the cache are not encoded
        again."""
        key = _key(medium, image_budget)
        if key not in self._counts:
            self._counts[key] = len(self.features(medium, image_budget))
        return self._counts[key]

    @torch.inference_mode()
    def features(self, medium: Medium, image_budget: int | None) -> Tensor:
        """[rows, hidden], what stock get_image_features and get_audio_features return for this medium, a sound padded
        as in audio_batch.py.

        image_budget: soft tokens at most, one of messages.IMAGE_BUDGETS; None for the checkpoint's own. Raises
        InputError for a medium that gives no rows.
        """
        key = _key(medium, image_budget)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if (recalled := self._recalled(key)) is not None:
            return recalled
        import_without_temporary_folder()
        with self._fitting():
            found = self._audio(medium) if isinstance(medium, Audio) else self._image(medium, image_budget)
        if not len(found):
            raise InputError(f"{medium.name}: too short for the model; give a longer recording")
        self._keep(key, found)
        self._made(key, found)
        return found

    def _recalled(self, key: tuple[str, int]) -> Tensor | None:
        """The features of an earlier run of the program."""
        found = self._shelf.find(key) if self._shelf else None
        if found is not None:
            self._keep(key, found)
            self._counts[key] = len(found)
        return found

    def _made(self, key: tuple[str, int], rows: Tensor) -> None:
        self.encoded += 1
        if self._shelf:
            self._shelf.keep(key, rows)

    def _image(self, image: Image, budget: int | None) -> Tensor:
        pixels, places = self._prepared(image, budget)
        if self.unified:
            rows: Tensor = self.stock.vision(pixels, places).pooler_output
            return rows[(places != -1).all(-1)]
        return self._pictures.encode([(pixels, places)])[0]

    def _prepared(self, image: Image, budget: int | None) -> PicturePatches:
        options: dict[str, Any] = {} if budget is None else {"max_soft_tokens": budget}
        try:
            pixels = image.pixels
            if isinstance(image, Frame):
                pixels, options["do_resize"] = frames.scaled(pixels, self.stock.image_processor, budget), False
            prepared = self.stock.image_processor(
                images=[pixels], input_data_format="channels_last", return_tensors="pt", **options
            )
        except (ValueError, ZeroDivisionError) as error:
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"{image.name}: the picture cannot be scaled to the "
                f"input size of the model ({error}); give another picture"
            ) from error
        return prepared["pixel_values"].to(self.device, self.dtype), prepared["image_position_ids"].to(self.device)

    def _seen(self, pixels: Tensor, places: Tensor) -> Tensor:
        embedded: Tensor = self.stock.vision["embed"](self.stock.vision["tower"](pixels, places).last_hidden_state)
        return embedded

    @torch.inference_mode()
    def look(self, pictures: Sequence[tuple[Image, int | None]]) -> None:
        """Keep the features of several pictures, each within its budget, as `listen` does those of sounds."""
        new = {_key(picture, budget): (picture, budget) for picture, budget in pictures}
        if "image" not in self.modalities or self.unified:
            return
        missing = [one for key, one in new.items() if key not in self._counts and self._recalled(key) is None]
        if len(missing) < 2:
            return
        import_without_temporary_folder()
        prepared: dict[tuple[str, int], PicturePatches] = {}
        with self._fitting():
            for picture, budget in missing:
                with suppress(InputError):  # `features` says it
                    prepared[_key(picture, budget)] = self._prepared(picture, budget)
            for key, rows in zip(prepared, self._pictures.encode(list(prepared.values())), strict=True):
                self._keep(key, rows)
                self._counts[key] = len(rows)
                self._made(key, rows)

    @torch.inference_mode()
    def listen(self, sounds: Sequence[Audio]) -> None:
        """Encode several sounds in one batch, which is faster than one after the other; the results are the same.

        What cannot be heard is left for `features` to tell.
        """
        new = {sound.digest: sound for sound in sounds if _key(sound, None) not in self._kept}
        if "audio" not in self.modalities or self.unified or len(new) < 2:
            return
        with self._fitting():
            heard = {
                digest: self._extracted(sound)
                for digest, sound in new.items()
                if len(sound.samples) <= MAX_AUDIO_S * SAMPLE_RATE
            }
            audible = {digest: (frames, mask) for digest, (frames, mask) in heard.items() if mask.any()}
            for digest, rows in zip(audible, self._sounds.encode(list(audible.values())), strict=True):
                self._keep(_key(new[digest], None), rows)
                self._made(_key(new[digest], None), rows)

    def _audio(self, audio: Audio) -> Tensor:
        heard, mask = self._extracted(audio)
        if self.unified:
            rows: Tensor = self.stock.audio(heard)
            return rows[mask]
        if not mask.any():
            return heard.new_empty(0, 0)
        return self._sounds.encode([(heard, mask)])[0]

    def _extracted(self, audio: Audio) -> tuple[Tensor, Tensor]:
        prepared = self.stock.feature_extractor([audio.samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return prepared["input_features"].to(self.device, self.dtype), prepared["input_features_mask"].to(self.device)

    def _embedded(self, heard: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.stock.audio["tower"](heard, mask)
        return self.stock.audio["embed"](encoded.last_hidden_state), encoded.attention_mask

    def _keep(self, key: tuple[str, int], rows: Tensor) -> None:
        self._kept[key] = rows
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """Raise ModelError where torch or transformers fails because configs and weights do not match."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if "memory" in str(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"{self.folder}: the encoders do not match the config files ({reason}); download the checkpoint again"
            ) from error

    def _soft_tokens(self, places: Tensor) -> list[int]:
        """Rows of each picture: its patches, pooled."""
        pooled = self.stock.image_processor.pooling_kernel_size**2
        return [int(patches) // pooled for patches in (places != -1).all(-1).sum(-1)]


def _key(medium: Medium, image_budget: int | None) -> tuple[str, int]:
    """Frames are scaled in a way of their own, so they are told from pictures by a negative budget."""
    if not isinstance(medium, Image):
        return medium.digest, 0
    return medium.digest, -(image_budget or 0) if isinstance(medium, Frame) else image_budget or 0
