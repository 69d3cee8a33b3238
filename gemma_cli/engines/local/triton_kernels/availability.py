"""Whether the kernels run on a device, and why not.

    why_not(device) -> str        "" where they run
    give_up(device, why)          they do not, from now on

They take a GPU of compute capability 8.0 and Triton. Before they are first used on a machine, a process of its own
checks them (self_check.py); its verdict is saved for this GPU, driver, torch, Triton and these sources. A failure is
tried again a day later.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from gemma_cli.core.errors import GemmaError
from gemma_cli.engines.local.device import AMPERE
from gemma_cli.store import paths
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text

OFF = "torch"
"""Value of GEMMA_KERNELS that computes everything with torch's kernels."""

CHECK_S = 300  # a check compiles every kernel; after that, it hangs
DAY_S = 24 * 3600

_given_up: dict[torch.device, str] = {}
_news: dict[torch.device, str] = {}


def why_not(device: torch.device) -> str:
    """Return why the kernels do not run on `device`; "" where they do."""
    if device.type != "cuda":
        return "they are for NVIDIA GPUs"
    if not torch.cuda.is_available():
        return "there is no NVIDIA GPU here"
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return _given_up.get(device) or _why_not(device)


def give_up(device: torch.device, why: str) -> None:
    """Leave `device` to torch's kernels for the rest of the process."""
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    _given_up[device] = _news[device] = why


def notice(device: torch.device) -> str | None:
    """Return a notice where the kernels turned out not to run during this process."""
    why = why_not(device) if device.type == "cuda" else ""
    return f"gemma's own kernels do not run on {device} ({why}); torch's kernels compute" if why and _news else None


def version() -> str:
    """Return what decides a kernel's bits beside the card: Triton's version and the sources."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return f"triton-{importlib.metadata.version('triton')}-{digest.hexdigest()[:12]}"


@functools.cache
def _why_not(device: torch.device) -> str:
    if os.environ.get("GEMMA_KERNELS", "").lower() == OFF:
        return f"GEMMA_KERNELS={OFF}"
    properties = torch.cuda.get_device_properties(device)
    if (properties.major, properties.minor) < AMPERE:
        return f"compute capability {properties.major}.{properties.minor}; they take 8.0"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    key = f"{properties.name} {properties.major}.{properties.minor} torch {torch.__version__} {version()}"
    known = _saved()
    if (found := known.get(key)) and (not found[0] or time.time() - found[1] < DAY_S):
        return found[0]
    why = _check(device)
    if why:
        _news[device] = why
    with suppress(GemmaError):  # a verdict that cannot be saved is found again
        write_whole(_file(), json.dumps(known | {key: (why, time.time())}))
    return why


def _check(device: torch.device) -> str:
    """Run the self-check in a process of its own; return why it failed."""
    command = [sys.executable, "-m", "gemma_cli.engines.local.triton_kernels.self_check", str(device.index)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=CHECK_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"their self-check did not end: {error}"
    if done.returncode == 0:
        return ""
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return f"their self-check failed: {lines[-1] if lines else f'exit code {done.returncode}'}"


def _file() -> Path:
    return paths.cache_dir() / "triton.json"


def _saved() -> dict[str, tuple[str, float]]:
    try:
        known = json.loads(read_text(_file()))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = known.items() if isinstance(known, dict) else ()
    return {
        key: (value[0], value[1])
        for key, value in pairs
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], float)
    }
