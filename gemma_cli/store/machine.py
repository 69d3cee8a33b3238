"""What this machine has, found without importing torch."""

from __future__ import annotations

import os
from pathlib import Path

_UNKNOWN = 16 * 2**30


def memory() -> int:
    """Bytes of main memory this process may use: the machine's, or its container's if that has less."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return _UNKNOWN
    try:
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return physical
