"""Figures about drafting, saved between runs: one small file for each model, drafter, device and format.

It holds times and rates, no name and no text. Because the machine may have been busy when they were measured, they are
a first guess only, which the first measurements replace (draft_length.from_json). A file that is missing, broken or of
another version is no loss: the figures begin anew. Nor is one that cannot be written.
"""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.errors import GemmaError
from gemma_cli.engines.local.decoding.draft_length import AdaptiveDraftLength, from_json, to_json
from gemma_cli.store import paths
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text

VERSION = 2


@dataclass
class SavedDraftLength:
    """Load the figures from `file` if they were saved."""

    file: Path
    pace: AdaptiveDraftLength = field(default_factory=AdaptiveDraftLength)
    replies: int = 0
    due: int = 1

    @classmethod
    def of(cls, info: EngineInfo) -> SavedDraftLength:
        file = paths.cache_dir() / "pace" / f"{_key(info)}.json"
        return cls(file, _read(file))

    def replied(self) -> None:
        """Save the figures after the first, second, fourth, ... reply of a process."""
        self.replies += 1
        if self.replies >= self.due:
            self.due *= 2
            with suppress(GemmaError):
                write_whole(self.file, json.dumps({"version": VERSION, **to_json(self.pace)}))


def _read(file: Path) -> AdaptiveDraftLength:
    try:
        values = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError):
        return AdaptiveDraftLength()
    current = isinstance(values, dict) and values.pop("version", None) == VERSION
    return from_json(values) if current else AdaptiveDraftLength()


def _key(info: EngineInfo) -> str:
    """Return a file name made of everything that the times depend on; averages follow any other change."""
    devices = [torch.device(name) for name in info.device.split(" + ")]
    where = " + ".join(
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {torch.get_num_threads()}"
        for device in devices
    )
    parts = (info.model, info.assistant, info.dtype, info.quantize, where, platform.node(), torch.__version__)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
