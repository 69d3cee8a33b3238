"""Properties of this machine, without importing torch."""

from __future__ import annotations

import os
from pathlib import Path

_UNKNOWN = 16 * 2**30
_CGROUP = Path("/sys/fs/cgroup")


def memory() -> int:
    """Bytes of main memory this process may use: the machine's, or its container's if that has less."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return _UNKNOWN
    try:
        return min(physical, int((_CGROUP / "memory.max").read_text()))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return physical


def resident() -> int:
    """Bytes of main memory that this process takes now."""
    import psutil

    taken: int = psutil.Process().memory_info().rss
    return taken


def available() -> int:
    """Bytes of main memory that can be had without swapping: what the system would free of its caches counts, and a
    container's limit holds."""
    import psutil

    there: int = psutil.virtual_memory().available
    try:
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        kept = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return min(there, limit - used + int(kept["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return there
