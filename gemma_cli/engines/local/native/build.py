"""Compiles the C files to a library for this processor, and stores it in the cache folder.

    library() -> Built(path, why)       path None: there is no library; `why` gives the reason

The library uses all instructions of the processor, so its name is a hash of the sources and the processor. It gets that
name only after its self-check has passed in a separate process: some virtual machines announce instructions that kill
the process. A library that differs from its record is built again (stored.py). After a permanent failure, nothing is
tried until the note about it is removed; after a failure that may pass, such as a full disk, it is tried again a day
later.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gemma_cli.engines.local.device import processor
from gemma_cli.store import paths

SOURCES = Path(__file__).parent
FLAGS = ("-O2", "-ffp-contract=fast", "-pthread", "-shared", "-fPIC")

MACHINES: Mapping[str, tuple[str, ...]] = {"x86_64": ("-march=native",), "aarch64": ("-mcpu=native",)}
"""The processors that there are kernels for, as Linux names them, and what makes the compiler use all of one."""

GCC: Mapping[str, tuple[str, ...]] = {
    # Tuned for AMD, gcc leaves some multiply-adds unfused; which ones depends on the number of rows, so bits would too.
    "x86_64": ("--param=avoid-fma-max-bits=0",),
}
"""What clang does not know."""

VARIANTS: tuple[tuple[str, ...], ...] = ((), ("-DNO_TILES",))
"""Variants to try in order: some machines announce AMX but lack it."""

COMPILE_S, CHECK_S = 120, 30  # after that, it hangs

SPACE = 8 << 20
"""Free bytes that a build requires: several times what it uses."""

DAY_S = 24 * 3600

OFF = "torch"
"""Value of GEMMA_KERNELS that computes everything with torch's kernels."""

SLOWER = "gemma uses torch's slower kernels"

_CHECK = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).self_check())"

_SCRATCH = ".build-"

_PASSING = (
    "No space left",
    "quota exceeded",
    "File too large",
    "Cannot allocate memory",
    "out of memory",
    "memory exhausted",
    "Too many open files",
    "temporarily unavailable",
    "Input/output error",
    "signal terminated program",
)
"""Compiler messages for a fault of the machine, not of the code."""

_OUTSIDE = (9, 15, 2, 1, 24, 25)
"""SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGXCPU, SIGXFSZ: signals from outside; a kernel never causes them."""


@dataclass(frozen=True)
class Built:
    """A library, or the reason why there is none.

    notice: a line for the user, if the state of the kernels has changed since the last run.
    """

    path: Path | None
    why: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Failure:
    """A failed build.

    passes: whether it may succeed on another day.
    """

    why: str
    passes: bool = False


@functools.cache
def library() -> Built:
    """Return the library; building it takes about three seconds."""
    if os.environ.get("GEMMA_KERNELS", "").lower() == OFF:
        return Built(None, f"GEMMA_KERNELS={OFF}")
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return Built(None, "gemma's own kernels run only on Linux on x86-64 and 64-bit ARM")
    return _library(paths.cache_dir() / "kernels")


def flags(machine: str, clang: bool = False) -> tuple[str, ...]:
    """Return what a compiler needs to be told for a processor."""
    return (*FLAGS, *MACHINES[machine], *(() if clang else GCC.get(machine, ())))


def _library(folder: Path) -> Built:
    from gemma_cli.engines.local.native import stored  # for Linux only

    path = folder / f"{_name()}.so"
    try:
        closed = stored.private(folder)
        if stored.doubt(path) is None:
            return Built(path)
        with stored.locked(folder, stored.PATIENCE_S):
            damage = stored.doubt(path)
            if damage is None:  # another process has built it meanwhile
                return Built(path)
            if damage:
                stored.remove(path)
            return _build(path, damage if closed else f"other users could write to {folder}")
    except stored.Untrusted as error:
        why = f"{error}, so gemma loads no kernels from there"
        return Built(None, why, f"{why} and {SLOWER}; remove the folder or file, or set GEMMA_KERNELS={OFF}")
    except OSError as error:
        why = f"{folder}: the folder cannot be written ({error.strerror or error})"
        return Built(None, why, f"{why}, so {SLOWER}; make the folder writable")


def _build(path: Path, damage: str) -> Built:
    """Build a missing or damaged library. The caller holds the folder's lock."""
    from gemma_cli.engines.local.native import stored

    if note := _remembered(path):
        return Built(None, note)
    compiler = next((found for name in ("gcc", "clang", "cc") if (found := shutil.which(name))), None)
    if compiler is None:
        failure: Failure | None = Failure("no C compiler is installed: install gcc or clang")
    elif shutil.disk_usage(path.parent).free < SPACE:
        failure = _remember(path, Failure(f"no disk space is left for {path.parent}", passes=True))
    else:
        _remove_leftovers(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=_SCRATCH, ignore_cleanup_errors=True) as scratch:
            made = Path(scratch) / path.name
            failure = _compile(compiler, made)
            if failure:
                _remember(path, failure)
            else:
                stored.store(made, path)
    was = f"{path}: the kernels were not loaded ({damage})" if damage else ""
    if not failure:
        return Built(path, notice=was and f"{was} and have been built again")
    if compiler is None and not damage:  # doctor says so, and every run would
        return Built(None, failure.why)
    cannot = f"{was} and cannot be built again" if damage else "gemma's kernels cannot be built"
    again = "; gemma tries again tomorrow" if failure.passes else ""
    return Built(None, failure.why, f"{cannot}, so {SLOWER}: {failure.why}{again}")


def _compile(compiler: str, made: Path) -> Failure | None:
    """Compile the library `made` and run its self-check; return None if both succeed."""
    sources = [str(source) for source in sorted(SOURCES.glob("*.c"))]
    # Its scratch files go where there is space, and its messages must be those of _PASSING.
    environment = os.environ | {"TMPDIR": str(made.parent), "LC_ALL": "C"}
    known = flags(platform.machine(), _is_clang(compiler))
    failure = None
    for variant in VARIANTS:
        command = [compiler, *known, *variant, *sources, "-o", str(made), "-lm"]
        check = [sys.executable, "-c", _CHECK, str(made)]
        failure = _fails(command, COMPILE_S, f"{compiler} cannot compile the kernels", environment)
        failure = failure or _fails(check, CHECK_S, "the kernels compute wrong results on this processor", environment)
        if failure is None or failure.passes:
            break
    return failure


def _is_clang(compiler: str) -> bool:
    return "clang" in Path(compiler).resolve().name


def _fails(command: list[str], seconds: int, why: str, environment: Mapping[str, str]) -> Failure | None:
    """Run a command; return None if it succeeds."""
    try:
        ran = subprocess.run(command, capture_output=True, timeout=seconds, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return Failure(f"{why}: not finished after {seconds} s", passes=True)
    except OSError as error:
        return Failure(f"{why}: {error.strerror}", passes=error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE))
    if ran.returncode == 0:
        return None
    if -ran.returncode in _OUTSIDE:
        return Failure(f"{why}: the process was ended by signal {-ran.returncode}", passes=True)
    lines = ran.stderr.decode(errors="replace").strip().splitlines()
    reason = next((line for line in lines if any(words in line for words in _PASSING)), None)
    if reason:
        return Failure(f"{why}: {reason}", passes=True)
    return Failure(f"{why}: {lines[-1]}" if lines else why)


def _remember(path: Path, failure: Failure) -> Failure:
    """Write a note about a failure, valid for a day if it may pass. Without a note, the next run tries again."""
    with suppress(OSError):
        _note(path, failure.passes).write_text(failure.why)
    return failure


def _remembered(path: Path) -> str:
    """Return why an earlier build failed; "" if the library may be built now."""
    for passes, remedy in ((False, "to try again"), (True, "to try again today")):
        note = _note(path, passes)
        try:
            if not passes or 0 <= time.time() - note.stat().st_mtime < DAY_S:
                return f"{note.read_text(errors='replace')} (remove {note} {remedy})"
        except OSError:
            continue
    return ""


def _note(path: Path, passes: bool) -> Path:
    return path.with_suffix(".today" if passes else ".txt")


def _remove_leftovers(folder: Path) -> None:
    """Remove the scratch folders of builds that were killed."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            if time.time() - scratch.stat().st_mtime > COMPILE_S * len(VARIANTS):
                shutil.rmtree(scratch)


def _name() -> str:
    """Return a hash of everything that the library depends on."""
    sources = b"".join(file.read_bytes() for file in sorted((*SOURCES.glob("*.c"), *SOURCES.glob("*.h"))))
    return hashlib.sha256(sources + " ".join((*flags(platform.machine()), processor())).encode()).hexdigest()[:16]
