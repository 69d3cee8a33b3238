"""The installed `gemma` command in a world of its own: an empty home, no network, the pocket checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_cli import cli
from tests.cli.helpers.command import SAMPLES, Gemma, Outcome
from tests.cli.helpers.installed import LIMIT_S


@pytest.fixture(scope="session")
def gemma(warm_program: str, environment: dict[str, str]) -> Gemma:
    """Run `gemma ARGUMENTS` in pipes, where no escape byte may come out; env adds to the environment."""
    return _runner(warm_program, environment)


@pytest.fixture(scope="session")
def installed_gemma(program: str, environment: dict[str, str]) -> Gemma:
    """The same with a new process each, as its users start it."""
    return _runner(program, environment)


@pytest.fixture
def gemma_here(environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gemma:
    """The same in this process, in a fraction of the time: for command lines that must not load a model."""

    def loading(*_: object) -> None:
        raise AssertionError("a model is loaded")

    def run(*arguments: object, stdin: bytes = b"", cwd: Path = SAMPLES, env: dict[str, str] | None = None) -> Outcome:
        (tmp_path / "stdin").write_bytes(stdin)
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch, (tmp_path / "stdin").open(encoding="utf-8") as piped:
            for name in os.environ.keys() - environment.keys():
                patch.delenv(name)
            for name, value in (environment | (env or {})).items():
                patch.setenv(name, value)
            patch.chdir(cwd)
            patch.setattr(sys, "stdin", piped)
            patch.setattr("gemma_cli.engines.local.opening._load", loading)
            code = cli.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert "\x1b" not in printed.out + printed.err, printed
        return Outcome(code, printed.out, printed.err)

    return run


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
