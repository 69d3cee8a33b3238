"""A configuration that is a pipe, full disks, one name for two chats: one line, and the answer where there is one."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gemma_cli
from tests.cli.helpers.command import SAMPLES, Gemma, Outcome
from tests.cli.helpers.held import LOADING, held
from tests.cli.helpers.warm import LARGEST_FILE

AT_ONCE_S = 60
"""Seconds on the slowest machine; what hangs does so for ever."""


def test_a_configuration_that_is_a_pipe_is_refused(program: str, environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "gemma-cli" / "config.toml"
    file.parent.mkdir()
    os.mkfifo(file)
    env = environment | {"XDG_CONFIG_HOME": str(tmp_path)}
    ran = subprocess.run([program, "chat", "hello"], capture_output=True, env=env, timeout=AT_ONCE_S, check=False)
    refused = Outcome(ran.returncode, ran.stdout.decode(), ran.stderr.decode())
    refused.refuses(f"gemma: {file}: the file cannot be read (not a regular file, but a pipe or a device)")


in_a_fork = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="commands are forks on Linux alone")


@in_a_fork
def test_where_nothing_can_be_written_the_answer_is_given_with_one_warning(gemma: Gemma, tmp_path: Path) -> None:
    folders = {f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("STATE", "CACHE")}
    env = folders | {"GEMMA_KERNELS": "torch", LARGEST_FILE: "0"}
    arguments = ("--image", "shapes.png", "--session", "x", "--temperature", "0", "--json")
    ran = gemma("chat", "What is in the picture?", *arguments, env=env)
    assert ran.code == 0, ran
    assert json.loads(ran.out)["text"] == "A red circle and a blue square."
    assert ran.err.count("\n") == 1, ran
    assert str(tmp_path / "STATE") in ran.err
    assert "this chat will not be saved" in ran.err


@in_a_fork
@pytest.mark.parametrize("size", [0, 4096])
def test_without_space_for_temporary_files_it_is_not_standard_output_that_is_blamed(gemma: Gemma, size: int) -> None:
    sound = (SAMPLES / "number-347.wav").read_bytes() * 2
    refused = gemma("transcribe", "-", stdin=sound, env={LARGEST_FILE: str(size)})
    refused.refuses("TMPDIR", code=1)
    assert "standard output" not in refused.err


def test_the_second_of_two_chats_that_begin_under_one_name_is_told_at_once(
    program: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Neither has loaded its model yet, let alone answered."""
    env = environment | {"XDG_STATE_HOME": str(tmp_path / "state")} | held(tmp_path, LOADING)
    command = [program, "chat", "Hello", "--session", "holiday"]
    logs = [tmp_path / "first", tmp_path / "second"]
    lock = tmp_path / "state" / "gemma-cli" / "sessions.lock"
    running = []
    try:
        for log in logs:
            with log.open("w") as err:
                running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=err, env=env))
            until(lambda: lock.exists() and (len(running) == 1 or logs[1].read_text()))
            time.sleep(0.1)
        assert logs[0].read_text() == ""
        said = logs[1].read_text()
        assert said.startswith("gemma: another process has the chat 'holiday' open too: ")
        assert said.count("\n") == 1
        assert [process.poll() for process in running] == [None, None]
    finally:
        for process in running:
            process.kill()
            process.wait()


def until(condition: object) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + AT_ONCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_compiled_module_that_is_cut_short_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    """As a full disk leaves it. It raises EOFError, which typer takes for the end of the input."""
    package = Path(gemma_cli.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, tmp_path / package.name, copy_function=os.symlink, ignore=ignored)
    module = tmp_path / package.name / "commands" / "doctor.py"
    cut = Path(py_compile.compile(str(module), doraise=True))
    cut.write_bytes(cut.read_bytes()[:200])
    command = [sys.executable, "-m", package.name, "doctor"]
    ran = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, timeout=AT_ONCE_S, check=False)
    Outcome(ran.returncode, ran.stdout.decode(), ran.stderr.decode()).refuses("__pycache__", code=1)
