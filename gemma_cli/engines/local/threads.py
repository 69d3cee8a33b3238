"""The number of threads: no more than this process may use of the machine.

torch takes as many as there are physical cores in the process's affinity. It does not read the quota of a container,
which may be two processors on a host of 64: 64 threads would then take turns on two, and wait for each other at every
barrier. OMP_NUM_THREADS has the last word.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Threads:
    """The number of threads, and the reason for it."""

    count: int
    reason: str


@cache
def set_threads() -> Threads:
    """Set torch's threads, which our kernels share, for this process. Later calls return the first choice."""
    chosen = choose(torch.get_num_threads(), "OMP_NUM_THREADS" in os.environ, cpu_quota())
    if chosen.count != torch.get_num_threads():
        torch.set_num_threads(chosen.count)
    return chosen


def choose(cores: int, by_user: bool, quota: float | None) -> Threads:
    """Choose between torch's own number and what a quota allows, in processors; None: there is no quota."""
    if by_user:
        return Threads(cores, "set by OMP_NUM_THREADS")
    allowed = math.ceil(quota) if quota is not None else cores
    if allowed < cores:
        return Threads(max(allowed, 1), f"this container may use only {quota:g} of {cores} cores")
    return Threads(cores, "one thread for each core that gemma may use")


def cpu_quota(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """Return the processors that control groups allow this process, the least of all its groups; None: no limit.

    Reads version 2 (cpu.max) and version 1 (cpu.cfs_quota_us). A file that is missing or odd sets no limit.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            found += [_limit_2(folder) for folder in _upward(groups, path)]
        elif "cpu" in controllers.split(","):
            for mount in (groups / controllers, groups / "cpu"):
                found += [_limit_1(folder) for folder in _upward(mount, path)]
    return min((limit for limit in found if limit is not None), default=None)


def _upward(mount: Path, path: str) -> list[Path]:
    """Return the folder of a group, and of all that contain it. In a container the outer ones do not exist."""
    group = mount / path.strip("/")
    return [group, *(folder for folder in group.parents if folder.is_relative_to(mount))]


def _limit_2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    return _processors(quota, period)


def _limit_1(folder: Path) -> float | None:
    return _processors(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _processors(quota: str, period: str) -> float | None:
    """Divide microseconds of computing by those of a period; "max" and -1 are no limit."""
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return limit if limit > 0 else None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
