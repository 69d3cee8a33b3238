"""The journal of long work while it is done: kept when that is interrupted, gone when it is finished."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gemma_cli.common.notices import notice
from gemma_cli.store.journal import Journal


@contextmanager
def resumable(key: Mapping[str, Any], name: str, unit: str, quiet: bool) -> Iterator[Journal]:
    """Yield what an earlier run of the same command had finished, to be added to.

    key: all that a reply depends on beside its own input. name, unit: what the notices call the work and its parts.
    """
    kept = Journal.open(key)
    if kept.resumed and not quiet:
        notice(f"{name}: continuing an interrupted run, of which {kept.resumed} {unit} are done")
    try:
        yield kept
    except KeyboardInterrupt:
        if kept.lasts and not quiet:
            notice(f"{name}: interrupted; to continue, run the same command again")
        raise
    else:
        kept.finish()
    finally:
        kept.close()
        if kept.trouble and not quiet:
            _warn(kept.trouble)


@functools.cache
def _warn(trouble: str) -> None:
    """Warn once, however many inputs there are."""
    notice(f"{trouble}, so this run cannot be continued if it is interrupted")
