"""Runs of the command that wait, for ever, where a test wants to press Ctrl-C, however slow the machine is.

held(tmp_path, LOADING) -> environment     with it, `gemma` comes as far as that and no further
"""

from __future__ import annotations

from pathlib import Path

LOADING = """\
import importlib.abc
import sys
import threading


class Wait(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "gemma_cli.engines.local.engine":
            threading.Event().wait()


sys.meta_path.insert(0, Wait())
"""
"""While the libraries of the engine are imported."""

REPLYING = """\
import threading

from gemma_cli.engines.local.engine import LocalEngine

decided = LocalEngine.tokens


def tokens(*arguments):
    written = 0
    for burst in decided(*arguments):
        yield burst
        written += len(burst.tokens)
        if written > 20:
            threading.Event().wait()


LocalEngine.tokens = tokens
"""
"""In the middle of a reply of more than twenty tokens."""


def held(folder: Path, where: str) -> dict[str, str]:
    """What to add to the environment; python runs `where` before the command."""
    (folder / "sitecustomize.py").write_text(where)
    return {"PYTHONPATH": str(folder)}
