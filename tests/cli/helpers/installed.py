"""Fixtures: the installed `gemma`, and a process that has imported everything.

This is a plugin of pytest, which tests/conftest.py names: each worker has one such process, whichever tests ask for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT_S = 300
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def program() -> str:
    """The command as pip installed it beside this Python."""
    found = shutil.which("gemma", path=sysconfig.get_path("scripts"))
    assert found, "gemma is not installed: pip install -e '.[dev]'"
    return found


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home with nothing in it but built kernels; no setting of the person who runs the tests reaches the command."""
    from tests.engines.helpers.kernels import (
        copy_kernels,
    )  # imports torch, which the process that hands out tests spares

    home = tmp_path_factory.mktemp("home")
    copy_kernels(home / ".cache")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GEMMA_", "HF_", "XDG_", "LC_", "PYTHON", "TERM", "NO_COLOR", "FORCE_COLOR"))
    }
    return kept | {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
        "GEMMA_MODEL": "pocket",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }


@pytest.fixture(scope="session")
def forks(environment: dict[str, str]) -> Iterator[Path | None]:
    """The socket of a process that has imported everything (tests.cli.helpers.warm); None off Linux."""
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="gemma"))  # pytest's own names are longer than a socket's may be
    place = folder / "socket"
    server = subprocess.Popen([sys.executable, "-m", "tests.cli.helpers.warm", str(place)], env=environment, cwd=ROOT)
    try:
        until = time.monotonic() + LIMIT_S
        while not place.exists():
            assert server.poll() is None, "tests.cli.helpers.warm has ended"
            assert time.monotonic() < until, "tests.cli.helpers.warm does not start"
            time.sleep(0.05)
        yield place
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def warm_program(program: str, forks: Path | None) -> str:
    """The command as a fork of that process; the installed one off Linux."""
    if forks is None:
        return program
    from tests.cli.helpers.warm import write_client

    return str(write_client(forks.parent, forks))
