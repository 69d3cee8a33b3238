"""The folder of the sockets, which no other user can reach, and what a server must hold to answer a command."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gemma_cli import __version__
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import GemmaError
from gemma_cli.store.models.checkpoints import SYNTHETIC, Resolved, named, resolve

ENVIRONMENT = ("GEMMA_KERNELS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES")
"""Variables that choose who computes, and so belong to what a server holds."""

_LONGEST = 80
"""Characters of a folder whose sockets can be named: a socket's path has room for about 100."""

Held = Mapping[str, str | None]
"""A model and its settings: two that are equal say the same."""


def folder() -> Path | None:
    """Where this user's sockets lie; None where no folder is safe. It may not exist yet.

    It is in XDG_RUNTIME_DIR, else in the folder for temporary files, and belongs to this user alone.
    """
    if not hasattr(os, "getuid"):
        return None
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and len(runtime) < _LONGEST and _own(runtime):
        found = f"{runtime}/gemma"
    else:
        import tempfile

        try:
            temporary = tempfile.gettempdir()
        except OSError:  # no folder for temporary files can be written to
            return None
        found = f"{temporary}/gemma-{os.getuid()}"
    return Path(found) if _own(found) or not os.path.lexists(found) else None


def made() -> Path | None:
    """Same as `folder`, and it exists."""
    if found := folder():
        with suppress(OSError):
            found.mkdir(0o700)
        return found if _own(str(found)) else None
    return None


def sockets() -> list[Path]:
    """The sockets there are, in no order that means anything; servers may have died."""
    if found := folder():
        with suppress(OSError):
            return [path for path in found.iterdir() if path.suffix == ".sock"]
    return []


def _own(path: str) -> bool:
    """Whether it is a folder, not a link to one, that nobody else may enter."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def asked_for(spec: EngineSpec) -> tuple[Held, Resolved] | None:
    """What `spec` asks for; None where it is no checkpoint on this disk."""
    if spec.url or (named(spec.model) or "").strip().startswith((SYNTHETIC, "scripted:")):
        return None
    try:
        resolved = resolve(spec.model, spec.assistant)
    except GemmaError:
        return None  # is reported by whoever loads it
    assert resolved.folder is not None
    drafter = resolved.assistant_folder
    held = {
        "version": __version__,
        "model": resolved.name,
        "folder": os.path.realpath(resolved.folder),
        "weights": _state(resolved.folder),
        "assistant": resolved.assistant_name,
        "assistant folder": os.path.realpath(drafter) if drafter else None,
        "assistant weights": _state(drafter) if drafter else None,
        "device": spec.device,
        "dtype": spec.dtype,
        "quantize": spec.quantize,
        **{name: os.environ.get(name) for name in ENVIRONMENT},
    }
    return held, resolved


def _state(folder: Path) -> str:
    """Names, sizes and times of the files of a checkpoint: other weights in the same place are other ones."""
    with os.scandir(folder) as entries:
        files = [entry for entry in entries if entry.is_file()]
    return repr(sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files))
