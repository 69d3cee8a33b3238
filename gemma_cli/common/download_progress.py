"""A download from the Hub as a command shows it: a line of progress, and a line about how to continue after Ctrl-C."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from gemma_cli.common.notices import notice
from gemma_cli.core.errors import Interrupted
from gemma_cli.store.models.download import pull
from gemma_cli.store.models.hub_client import Progress
from gemma_cli.store.models.releases import short_name, size
from gemma_cli.views.console import terminal
from gemma_cli.views.status import StatusLine


def fetched(name: str) -> list[Path]:
    """Fetch a checkpoint and its drafter; returns their folders. Raises Interrupted on Ctrl-C."""
    progress = Progress()
    status = StatusLine(terminal(sys.stderr), Described(name, progress))
    status.start()
    try:
        return pull(name, progress)
    except KeyboardInterrupt:
        status.stop()
        there = f" after {size(progress.there)} of {size(progress.total)}" if progress.total else ""
        notice(f"the download stopped{there}; to continue: gemma models pull {short_name(name)}")
        gc.freeze()  # the program ends now: looking for cycles once more would take longer than all the rest
        raise Interrupted from None
    finally:
        status.stop()


class Described:
    """The line of progress, such as "e2b: 1.3 GB of 10.2 GB, 24.1 MB/s, 6 min left (model.safetensors)"."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress
        self._start: tuple[float, int] | None = None  # seconds and bytes when bytes began to arrive

    def __call__(self, elapsed: float) -> str:
        now = self._progress
        if not now.total:
            return f"{self._name}: {now.doing}"
        since, first = self._start = self._start or (elapsed, now.there)
        line = f"{self._name}: {size(now.there)} of {size(now.total)}"
        if elapsed > since + 1 and now.there > first:
            speed = (now.there - first) / (elapsed - since)
            left = (now.total - now.there) / speed
            line += f", {speed / 1e6:.1f} MB/s, " + (f"{left / 60:.0f} min left" if left > 90 else f"{left:.0f} s left")
        return f"{line} ({now.doing})"
