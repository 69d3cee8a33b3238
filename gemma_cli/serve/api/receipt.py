"""Receipts: everything outside the request that a text depends on, so that the text can be reproduced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gemma_cli import __version__
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Speculation
from gemma_cli.core.messages import Request
from gemma_cli.views.json import sampling_object, speculation_object

FILES = ("*.safetensors", "config.json", "generation_config.json", "tokenizer*.json", "chat_template*")
"""Files of a checkpoint that affect its replies."""


@dataclass(frozen=True)
class Receipt:
    """The model, its drafter and how they run. hash, drafter_hash: as `checkpoint_hash` gives them."""

    info: EngineInfo
    hash: str | None
    drafter_hash: str | None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.info.model

    @cached_property
    def fingerprint(self) -> str:
        """Hash everything outside the request that the text depends on; the drafter does not belong to it."""
        named = json.dumps({**self._engine, "drafter": None, "drafter_sha256": None}, sort_keys=True)
        return f"fp_{hashlib.sha256(named.encode()).hexdigest()[:16]}"

    @cached_property
    def _engine(self) -> dict[str, Any]:
        info = self.info
        return {
            "version": __version__,
            "model": info.model,
            "model_sha256": self.hash,
            "drafter": info.assistant,
            "drafter_sha256": self.drafter_hash,
            "quantization": info.quantize,
            "dtype": info.dtype,
            "device": info.device,
            "kernels": info.kernels,
            "exact": info.exact,
        }

    def of(self, request: Request, speculation: Speculation) -> Mapping[str, Any]:
        """The receipt of one reply."""
        drafts = request.drafting.draft_tokens if self.info.assistant else 0
        return {
            **self._engine,
            "seed": request.sampling.seed,
            "sampling": sampling_object(request.sampling),
            "speculation": speculation_object(speculation, drafts),
        }


def checkpoint_hash(folder: Path | None) -> str | None:
    """sha-256 over the names and digests of a checkpoint's files; None without a folder.

    Files in the Hugging Face cache are named by their digests, so those are not read.
    """
    if folder is None:
        return None
    lines = [f"{path.name} {_digest(path)}\n" for path in sorted(_files(folder), key=lambda path: path.name)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for pattern in FILES:
        yield from (path for path in folder.glob(pattern) if path.is_file())


def _digest(path: Path) -> str:
    name = path.resolve().name
    if path.is_symlink() and len(name) == 64 and all(character in "0123456789abcdef" for character in name):
        return name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
