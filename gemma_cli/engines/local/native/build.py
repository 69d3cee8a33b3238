"""C files -> a library for this processor, kept in the cache folder.

    library() -> Built(path, why)       path None: there is none, and `why` says so in a few words

Compiled for the very instructions of the machine, so a library belongs to one kind of processor and one state of the
sources: both are in its name. It appears under that name only after its self-check has run in a process of its own,
because virtual machines announce instructions that kill whoever uses them. What failed once is not tried again before
the note about it is removed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gemma_cli.engines.local.device import processor
from gemma_cli.store import paths

SOURCES = Path(__file__).parent
FLAGS = (
    "-O2",
    "-march=native",
    "-ffp-contract=fast",
    # Tuned for AMD, gcc leaves some sums of products unfused; which ones depends on a loop's row count, so bits would.
    "--param=avoid-fma-max-bits=0",
    "-fopenmp",
    "-shared",
    "-fPIC",
)
VARIANTS: tuple[tuple[str, ...], ...] = ((), ("-DNO_TILES",))
"""What is tried, one after the other: AMX is announced by machines that lack it."""

COMPILE_S, CHECK_S = 120, 30  # longer than that, and something hangs

OFF = "torch"
"""Of GEMMA_KERNELS: computes everything with torch's own."""

_CHECK = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).self_check())"


@dataclass(frozen=True)
class Built:
    path: Path | None
    why: str = ""


@functools.cache
def library() -> Built:
    """The library, built where it is not there yet: some three seconds."""
    if os.environ.get("GEMMA_KERNELS", "").lower() == OFF:
        return Built(None, f"GEMMA_KERNELS={OFF}")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return Built(None, "they are for Linux on x86-64")
    folder = paths.cache_dir() / "kernels"
    path = folder / f"{_name()}.so"
    if path.is_file():
        return Built(path)
    failure = path.with_suffix(".txt")
    try:
        if failure.is_file():
            return Built(None, f"{failure.read_text()} (remove {failure} to try again)")
        folder.mkdir(parents=True, exist_ok=True)
        return _build(path, failure)
    except OSError as error:
        return Built(None, f"{folder} cannot be written: {error.strerror}")


def _build(path: Path, failure: Path) -> Built:
    compiler = next((found for name in ("gcc", "cc") if (found := shutil.which(name))), None)
    if compiler is None:
        return Built(None, "no C compiler; install gcc")
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        for variant in VARIANTS:
            command = [compiler, *FLAGS, *variant, *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(made), "-lm"]
            why = _fails(command, COMPILE_S, f"{compiler} cannot compile them")
            why = why or _fails([sys.executable, "-c", _CHECK, str(made)], CHECK_S, "this processor runs them wrongly")
            if not why:
                break
        else:
            failure.write_text(why)
            return Built(None, why)
        made.replace(path)
    return Built(path)


def _fails(command: list[str], seconds: int, why: str) -> str:
    """Empty where the command succeeds."""
    try:
        ran = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return why
    if ran.returncode == 0:
        return ""
    said = ran.stderr.decode(errors="replace").strip().splitlines()
    return f"{why}: {said[-1]}" if said else why


def _name() -> str:
    """What the library depends on."""
    sources = b"".join(file.read_bytes() for file in sorted((*SOURCES.glob("*.c"), *SOURCES.glob("*.h"))))
    return hashlib.sha256(sources + " ".join((*FLAGS, processor())).encode()).hexdigest()[:16]
