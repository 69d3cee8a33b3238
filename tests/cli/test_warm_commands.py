"""Commands with a model that `gemma serve --background` holds: the same as without, and far less work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.helpers.command import Gemma, Outcome
from tests.cli.helpers.command_lines import FEW, NOTICE, said

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can stay behind")

COSTLY = {"torch", "transformers", "numpy", "pydantic", "httpx2", "rich", "ssl", "sqlite3", "importlib.metadata"}


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds. In a container nobody may collect what has ended."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def warm(gemma: Gemma, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """What to add to the environment, so that a server holds pocket. In the end it is ended, and nothing is left."""
    folder = Path(environment["XDG_RUNTIME_DIR"]) / "held"
    folder.mkdir(mode=0o700)
    env = {"XDG_RUNTIME_DIR": str(folder)}
    begun = gemma("serve", "--background", "--idle-timeout", "600", env=env)
    assert (begun.code, begun.out) == (0, ""), begun
    assert begun.err == "gemma: pocket is loaded; to stop the server: gemma stop\n"
    yield env
    (found,) = json.loads(gemma("stop", "--list", "--json", env=env).out)
    ended = gemma("stop", env=env)
    assert ended == Outcome(0, f"process {found['pid']}, which served pocket, has stopped\n", "")
    assert gone(found["pid"])
    assert list((folder / "gemma").iterdir()) == []
    assert gemma("stop", env=env) == Outcome(0, "none of your servers is running\n", "")


@pytest.mark.parametrize(
    ("arguments", "stdin"), FEW, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "-"
)
def test_a_command_says_the_same_whoever_holds_the_model(
    gemma: Gemma, warm: dict[str, str], arguments: list[str], stdin: bytes
) -> None:
    alone = gemma(*arguments, "--no-server", stdin=stdin, env=warm)
    held = gemma(*arguments, stdin=stdin, env=warm)
    assert (held.code, said(held.out)) == (alone.code, said(alone.out))
    assert held.err == ("" if "-q" in arguments else NOTICE) + alone.err


def test_other_settings_are_not_what_the_server_holds(gemma: Gemma, warm: dict[str, str]) -> None:
    assert NOTICE not in gemma("chat", "Hello", "--seed", "1", "--assistant", "off", env=warm).err
    refused = gemma("serve", "--background", env=warm)
    assert refused == Outcome(0, "", "gemma: pocket is already loaded; to stop the server: gemma stop\n")


def test_what_a_command_imports(environment: dict[str, str], warm: dict[str, str]) -> None:
    """What takes time to import is not needed to ask: the model is elsewhere."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gemma_cli", "chat", "Hello", "--seed", "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment | warm,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert NOTICE in done.stderr
    assert "gemma_cli.engines.warm.engine" in imported
    assert not imported & COSTLY
