"""Receipts: what a text depends on, so that it can be reproduced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from gemma_cli import __version__
from gemma_cli.core.engine import EngineInfo, EngineSpec
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import Speculation
from gemma_cli.core.messages import Part, Request, Text, Video
from gemma_cli.core.records import dataclass
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.models.checkpoints import resolve
from gemma_cli.store.paths import cache_dir
from gemma_cli.views.json import sampling_object, speculation_object

FILES = ("*.safetensors", "config.json", "generation_config.json", "tokenizer*.json", "chat_template*")
"""Files of a checkpoint that affect its replies."""

LARGE = 64 << 20
"""Bytes of a file from which its digest is remembered, until its size or time changes."""


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
        named = json.dumps({**self.engine, "drafter": None, "drafter_sha256": None}, sort_keys=True)
        return f"fp_{hashlib.sha256(named.encode()).hexdigest()[:16]}"

    @cached_property
    def engine(self) -> dict[str, Any]:
        """What answers, and where."""
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

    def of(self, request: Request, speculation: Speculation, text: str, stops: Sequence[str] = ()) -> dict[str, Any]:
        """The receipt of one reply. stops: texts that end it."""
        drafts = request.drafting.draft_tokens if self.info.assistant else 0
        return {
            **self.engine,
            "seed": request.sampling.seed,
            "sampling": sampling_object(request.sampling),
            "think": request.thinking,
            "thinking_budget": request.thinking_budget,
            "stop": list(stops),
            "prompt_sha256": prompt_hash(request),
            "text_sha256": text_hash(text),
            "speculation": speculation_object(speculation, drafts),
        }


def receipt_of(info: EngineInfo, spec: EngineSpec) -> Receipt:
    """What `info` runs on, with the hashes of its files. spec: what was asked for."""
    found = None if ":" in info.model or spec.url else resolve(spec.model, spec.assistant)  # synthetic:, scripted:
    if found is None:
        return Receipt(info, None, None)
    return Receipt(info, checkpoint_hash(found.folder), checkpoint_hash(found.assistant_folder))


def text_hash(text: str) -> str:
    """sha-256 of a reply's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def prompt_hash(request: Request) -> str:
    """sha-256 of all that makes a prompt, and of what the reply is held to; media by their digests."""
    messages = [
        [
            message.role,
            [part_object(part) for part in message.parts],
            [[call.name, dict(call.arguments)] for call in message.tool_calls],
            [[answer.name, answer.response] for answer in message.tool_responses],
        ]
        for message in request.messages
    ]
    prompt = [messages, request.thinking, request.tools, request.image_budget, request.schema, request.raw]
    return text_hash(json.dumps(prompt, sort_keys=True, default=dict))


def part_object(part: Part) -> list[Any]:
    """A part of a message as it counts for a prompt."""
    match part:
        case Text(text):
            return ["text", text]
        case Video():
            return ["video", [part_object(frame) for frame in part.frames], part.seconds]
    return [type(part).__name__.lower(), part.digest]


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
    found = path.stat()
    if found.st_size < LARGE:
        return _read_digest(path)
    key = text_hash(repr((str(path.resolve()), found.st_size, found.st_mtime_ns)))
    kept = cache_dir() / "digests" / key
    try:
        return kept.read_text()
    except (OSError, ValueError):
        digest = _read_digest(path)
    with suppress(GemmaError):  # it is found again
        write_whole(kept, digest)
    return digest


def _read_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
