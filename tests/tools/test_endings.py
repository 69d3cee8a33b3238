"""What `gemma chat` has started ends with it, whatever ends it, and whatever it was doing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gemma_cli.tools import ToolFailed
from gemma_cli.tools.server_config import Local
from tests.cli.helpers.warm import Piped
from tests.tools.processes import alive, wait_for, wait_for_the_end_of

pytest.importorskip("mcp", reason="the mcp extra is not installed")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

STUBBORN = str(Path(__file__).with_name("stubborn_server.py"))


Chat = Callable[..., Piped]


@pytest.fixture
def chat(forks: Path | None, tmp_path: Path) -> Iterator[Chat]:
    """`gemma chat` with a question that makes pocket call a tool."""
    if forks is None:
        pytest.skip("commands are forks of one process")
    running = []

    def started(*arguments: str) -> Piped:
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "GEMMA_MODEL": "pocket"}
        command = ["chat", "What time is it?", "--temperature", "0", *arguments]
        running.append(Piped(forks, command, environment, Path.cwd(), tmp_path / "written"))
        return running[-1]

    yield started
    for program in running:
        program.close()


def test_a_server_that_ignores_everything_ends_while_it_starts(tmp_path: Path, chat: Chat):
    configuration = tmp_path / "mcp.json"
    server = {"command": sys.executable, "args": [STUBBORN, str(tmp_path), "mute"]}
    configuration.write_text(json.dumps({"mcpServers": {"stubborn": server}}))
    program = chat("--mcp", str(configuration))
    running = numbers(wait_for(tmp_path / "running"))
    assert all(map(alive, running))
    program.send_signal(signal.SIGTERM)
    out, err = program.communicate()
    assert (program.returncode, out) == (143, "")
    assert "Traceback" not in err
    wait_for_the_end_of(running)


def test_a_function_that_is_called_ends_with_the_program(tmp_path: Path, chat: Chat):
    """SIGHUP in the middle of a call that pocket really makes."""
    program = chat("--tool", f"{endless(tmp_path)}:now", "--allow-tool", "now")
    running = numbers(wait_for(tmp_path / "running"))
    program.send_signal(signal.SIGHUP)
    out, err = program.communicate()
    assert (program.returncode, out) == (129, "")
    assert "Traceback" not in err
    wait_for_the_end_of(running)


def test_functions_end_when_the_program_is_killed(tmp_path: Path):
    """Nothing can be done on SIGKILL, but the process that runs them sees its stdin end."""
    code = f"""
from gemma_cli.tools.functions import loaded
with loaded([{str(endless(tmp_path)) + ":now"!r}], print) as (now,):
    now.run({{}})
"""
    program = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
    running = numbers(wait_for(tmp_path / "running"))
    program.kill()
    program.communicate(timeout=120)
    wait_for_the_end_of(running)


def endless(folder: Path) -> Path:
    """A module whose function now() starts a program, notes the numbers of both, and cannot be interrupted."""
    path = folder / "clock.py"
    path.write_text(f'''
import os, pathlib, subprocess, time
def now() -> str:
    """The time."""
    child = subprocess.Popen(["sleep", "600"])
    part = pathlib.Path({str(folder / "part")!r})
    part.write_text(f"{{os.getpid()}} {{child.pid}}")
    part.rename({str(folder / "running")!r})
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
''')
    return path


def test_a_call_of_a_server_has_a_time_limit_and_is_cancelled_there(tmp_path: Path):
    from gemma_cli.tools.servers import started

    server = Local("stubborn", sys.executable, (STUBBORN, str(tmp_path)))
    with started([server], patience=600, limit_s=0.3) as (wait,):
        with pytest.raises(
            ToolFailed,
            match=r"the call was stopped after 0.3 s without an answer \(to allow more time, give --tool-timeout\)",
        ):
            wait.run({})
        wait_for(tmp_path / "called")
        wait_for(tmp_path / "cancelled")
        began = time.monotonic()
    assert time.monotonic() - began < 60
    wait_for_the_end_of(numbers((tmp_path / "running").read_text()))


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]
