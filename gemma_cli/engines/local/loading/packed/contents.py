"""What tells the weights of one checkpoint from those of another, wherever they lie.

    content_digest(kernels, folder) -> str

Files of the Hugging Face cache are named by their SHA-256. Others are read once; their digest is saved with the file's
size, times and number, and read again when one of these has changed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gemma_cli.core.errors import GemmaError
from gemma_cli.engines.local.native.ops import Kernels
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.models.saved_weights import folder as saved_folder
from gemma_cli.store.models.shards import weight_files

WINDOW = 256 << 20
"""Bytes of a file that are mapped at a time: a multiple of a checksum's block."""

SAVED = 1024
"""Files whose digest is remembered."""

_BLOB = re.compile(r"[0-9a-f]{64}")


def content_digest(kernels: Kernels, folder: Path) -> str:
    """The digest of a checkpoint's weight files, in the order of their names. Raises OSError, ModelError."""
    digests = [_digest(kernels, file) for file in sorted(weight_files(folder))]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _digest(kernels: Kernels, file: Path) -> str:
    real = file.resolve()
    if real.parent.name == "blobs" and _BLOB.fullmatch(real.name):
        return real.name
    saved, state = _read(), _state(real)
    known = saved.get(str(real))
    if isinstance(known, dict) and known.get("state") == state and isinstance(known.get("digest"), str):
        return str(known["digest"])
    digest = _checksum(kernels, real)
    if _state(real) == state:
        saved = {**_read(), str(real): {"state": state, "digest": digest}}
        with suppress(GemmaError):
            write_whole(_file(), json.dumps(dict(list(saved.items())[-SAVED:])))
    return digest


def _checksum(kernels: Kernels, file: Path) -> str:
    """The digest of a file, mapped a window at a time, so that it takes no memory."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        for first in range(0, size, WINDOW):
            length = min(WINDOW, size - first)
            with mmap.mmap(opened.fileno(), length, mmap.MAP_PRIVATE, offset=first) as window:
                content = torch.frombuffer(window, dtype=torch.uint8)
                digest.update(kernels.checksum(content))
                del content  # or the window cannot be closed
    return f"{size}-{digest.hexdigest()}"


def _state(file: Path) -> Sequence[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _file() -> Path:
    return saved_folder() / "contents.json"


def _read() -> dict[str, Any]:
    try:
        saved = json.loads(read_text(_file(), 1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    return saved if isinstance(saved, dict) else {}
