"""Waiting for files that other processes make, and for the end of processes."""

import time
from pathlib import Path

PATIENCE = 300.0
"""Seconds before a wait gives up; a busy machine may need many, a failing test always takes them."""


def wait_for(file: Path) -> str:
    """Return what is in a file once it is there."""
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} was never made"
        time.sleep(0.01)
    return file.read_text()


def wait_for_the_end_of(processes: list[int]) -> None:
    """Fail after a while where one still runs."""
    deadline = time.monotonic() + 30
    while any(map(alive, processes)):
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.01)


def alive(process: int) -> bool:
    """Whether a process runs. A zombie, which nobody may be there to reap, does not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
