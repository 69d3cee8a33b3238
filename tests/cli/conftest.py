"""The installed `gemma` command in a world of its own: an empty home, no network, the pocket checkpoint."""

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

from tests.cli.helpers.command import ROOT, SAMPLES, Gemma, Outcome
from tests.cli.helpers.warm import write_client
from tests.engines.helpers.kernels import copy_kernels

LIMIT_S = 300


@pytest.fixture(scope="session")
def program() -> str:
    """The command as pip installed it beside this Python."""
    found = shutil.which("gemma", path=sysconfig.get_path("scripts"))
    assert found, "gemma is not installed: pip install -e '.[dev]'"
    return found


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home with nothing in it but built kernels; no setting of the person who runs the tests reaches the command."""
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
def warm_program(program: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The command in a process that has imported everything; the installed one off Linux."""
    if not hasattr(os, "pidfd_open"):
        yield program
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
        yield str(write_client(folder, place))
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def gemma(warm_program: str, environment: dict[str, str]) -> Gemma:
    """Run `gemma ARGUMENTS` in pipes, where no escape byte may come out; env adds to the environment."""
    return _runner(warm_program, environment)


@pytest.fixture(scope="session")
def installed_gemma(program: str, environment: dict[str, str]) -> Gemma:
    """The same with a new process each, as its users start it."""
    return _runner(program, environment)


def _runner(program: str, environment: dict[str, str]) -> Gemma:
    def run(*arguments: object, stdin: bytes = b"", cwd: Path = SAMPLES, env: dict[str, str] | None = None) -> Outcome:
        done = subprocess.run(
            [program, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env=environment | (env or {}),
            timeout=LIMIT_S,
            check=False,
        )
        assert b"\x1b" not in done.stdout + done.stderr, done
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
