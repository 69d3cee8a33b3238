"""The installed `gemma` command in a world of its own: an empty home, no network, the pocket checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.cli.command import SAMPLES, Gemma, Outcome

LIMIT_S = 300


@pytest.fixture(scope="session")
def program() -> str:
    """The command as pip installed it beside this Python."""
    found = shutil.which("gemma", path=sysconfig.get_path("scripts"))
    assert found, "gemma is not installed: pip install -e '.[dev]'"
    return found


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home with nothing in it; no setting of the person who runs the tests reaches the command."""
    home = tmp_path_factory.mktemp("home")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GEMMA_", "HF_", "XDG_", "LC_", "PYTHON", "TERM", "NO_COLOR", "FORCE_COLOR"))
    }
    return kept | {
        "HOME": str(home),
        "GEMMA_MODEL": "pocket",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }


@pytest.fixture(scope="session")
def gemma(program: str, environment: dict[str, str]) -> Gemma:
    """Run `gemma ARGUMENTS` in pipes, where no escape byte may come out; env adds to the environment."""

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
