"""Python functions as tools: how they are declared, called, and refused."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gemma_cli.core.errors import UsageError
from gemma_cli.tools import ToolFailed, toolbox
from gemma_cli.tools.functions import load, loaded
from gemma_cli.tools.process import Worker
from gemma_cli.views.signals import orderly_exit
from tests.tools.processes import wait_for, wait_for_the_end_of
from training.data.dialogue import ADD, NOW

SAMPLE = Path(__file__).parents[2] / "gemma_cli" / "samples" / "tools.py"

MODULE = '''
"""Tools that misbehave."""
import dataclasses, enum, sys
from typing import Literal
print("imported")

def divide(a: float, b: float = 2.0) -> float:
    """Divide.

    Args:
        a: Above.
        b: Below.
    """
    print("dividing")
    return a / b

def pick(colour: Literal["red", "blue"], names: list[str]) -> dict:
    """Pick.

    Args:
        colour: One of two.
        names: Some.
    """
    return {colour: names, "set": {1}, "place": sys.path.__class__, "bad": float("nan")}

def leave() -> None:
    """Leave."""
    sys.exit(3)

def undescribed(a: int): return a
def undocumented(a: int):
    """No Args."""
def unhinted(a):
    """None.

    Args:
        a: What.
    """
def end() -> None:
    """End the process, as a signal does."""
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)
def crash() -> None:
    """End the process at once."""
    import os
    os._exit(9)
def write() -> str:
    """Write wherever there is to write."""
    import os, subprocess
    print("printed \\x1b[31m")
    os.write(1, b"written\\n")
    subprocess.run(["echo", "by a child"])
    print("error", file=sys.stderr)
    sys.stdout.write("no end of line")
    return sys.stdin.read()
def sleep(path: str) -> str:
    """Sleep until it is interrupted.

    Args:
        path: A file that is made first.
    """
    import pathlib, subprocess
    pathlib.Path(path).touch()
    subprocess.run(["sleep", "600"])
    return "slept"
def stay(path: str) -> None:
    """Never end, and start a program that does not either.

    Args:
        path: Where the numbers of both processes go.
    """
    import os, pathlib, subprocess, time
    child = subprocess.Popen(["sh", "-c", "trap '' INT TERM; while :; do sleep 1; done"])
    pathlib.Path(path + ".part").write_text(f"{os.getpid()} {child.pid}")
    pathlib.Path(path + ".part").rename(path)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
def where() -> list[int]:
    """Start a program that goes on; the numbers of both processes."""
    import os, subprocess
    return [os.getpid(), subprocess.Popen(["sleep", "600"]).pid]
async def late() -> int:
    """Later."""
    return 1
counter = 0
def count() -> int:
    """Count."""
    global counter
    counter += 1
    return counter
def count_twice() -> int:
    """Count."""
    return count() + count()
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "mine.py"
    path.write_text(MODULE)
    return path


LINES: list[str] = []
"""What the tools of this module have written."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with closing(Worker(LINES.append)) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_written_yet() -> None:
    LINES.clear()


def test_a_function_is_declared_by_its_hints_and_docstring(worker: Worker):
    for name, declared in (("add", ADD), ("now", NOW)):
        assert load(worker, f"{SAMPLE}:{name}").declaration == declared


def test_arguments_become_what_the_hints_ask_for(worker: Worker, module: Path):
    divide, pick = load(worker, f"{module}:divide"), load(worker, f"{module}:pick")
    assert divide.run({"a": "9"}) == 4.5
    told = pick.run({"colour": "red", "names": ["x"]})
    assert (told["red"], told["set"], told["bad"]) == (["x"], [1], "NaN")


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("divide", {"a": 1, "b": 0}, "ZeroDivisionError: float division by zero"),
        ("divide", {}, "a: Missing required argument"),
        ("divide", {"a": "one"}, "a: Input should be a valid number"),
        ("divide", {"a": 1, "c": 1}, "c: Unexpected keyword argument"),
        ("pick", {"colour": "green", "names": []}, "colour: Input should be 'red' or 'blue'"),
        ("leave", {}, "SystemExit: 3"),
        ("end", {}, r"the process of the tool ended \(SIGTERM\)"),
        ("crash", {}, r"the process of the tool ended \(exit code 9\)"),
    ],
)
def test_what_goes_wrong_in_a_tool_is_told(
    worker: Worker, module: Path, name: str, arguments: dict[str, object], why: str
):
    with pytest.raises(ToolFailed, match=why):
        load(worker, f"{module}:{name}").run(arguments)


def test_after_a_tool_ended_its_process_the_others_go_on_in_another(worker: Worker, module: Path):
    divide = load(worker, f"{module}:divide")
    with pytest.raises(ToolFailed):
        load(worker, f"{module}:crash").run({})
    assert divide.run({"a": 1}) == 0.5


def test_what_a_tool_writes_is_shown_and_never_reaches_stdout(
    worker: Worker, module: Path, capfd: pytest.CaptureFixture[str]
):
    assert load(worker, f"{module}:write").run({}) == "", "it can read nothing either"
    assert [line for line in LINES if line != "imported"] == [
        "printed \x1b[31m",
        "written",
        "by a child",
        "error",
        "no end of line",
    ]
    assert capfd.readouterr() == ("", "")


def test_a_function_that_takes_too_long_is_interrupted_and_its_module_lives_on(
    worker: Worker, module: Path, tmp_path: Path
):
    sleep, count = load(worker, f"{module}:sleep", 0.3), load(worker, f"{module}:count")
    before = count.run({})
    with pytest.raises(
        ToolFailed,
        match=r"the call was stopped after 0.3 s without an answer \(to allow more time, give --tool-timeout\)",
    ):
        sleep.run({"path": str(tmp_path / "asleep")})
    assert count.run({}) == before + 1


def test_ctrl_c_cancels_a_call(worker: Worker, module: Path, tmp_path: Path):
    sleep, count = load(worker, f"{module}:sleep"), load(worker, f"{module}:count")
    before, asleep = count.run({}), tmp_path / "asleep"
    threading.Thread(target=signal_once_there_is, args=(asleep, signal.SIGINT), daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        sleep.run({"path": str(asleep)})
    assert count.run({}) == before + 1, "only the call was cancelled"


@pytest.mark.parametrize(
    ("number", "error"), [(None, ToolFailed), ("SIGINT", KeyboardInterrupt), ("SIGTERM", SystemExit)]
)
def test_a_function_that_does_not_end_is_killed_with_what_it_started(
    module: Path, tmp_path: Path, number: str | None, error: type[BaseException]
):
    running = tmp_path / "running"
    with closing(Worker(LINES.append)) as fresh, orderly_exit():
        stay = load(fresh, f"{module}:stay", 1.0 if number is None else 60)
        count = load(fresh, f"{module}:count")
        count.run({})
        if number:
            arguments = (running, signal.Signals[number])
            threading.Thread(target=signal_once_there_is, args=arguments, daemon=True).start()
        with pytest.raises(error):
            stay.run({"path": str(running)})
        if error is not SystemExit:
            assert count.run({}) == 1, "another process"
        processes = [int(word) for word in running.read_text().split()]
        wait_for_the_end_of(processes)


def test_tools_end_with_their_context(module: Path):
    with loaded([f"{module}:where"], LINES.append) as (where,):
        process, child = where.run({})
    wait_for_the_end_of([process, child])


def signal_once_there_is(file: Path, number: signal.Signals) -> None:
    wait_for(file)
    os.kill(os.getpid(), number)


def test_two_functions_of_a_module_share_it(module: Path):
    with loaded([f"{module}:count", f"{module}:count_twice"], LINES.append) as (count, twice):
        assert count.run({}) + twice.run({}) == 1 + 2 + 3


@pytest.mark.parametrize("name", ["undescribed", "undocumented", "unhinted", "late", "counter", "nothing"])
def test_a_function_that_cannot_be_declared_is_refused(worker: Worker, module: Path, name: str):
    with pytest.raises(UsageError, match=f"mine.py:{name}: .*(docstring|type hint|no function)"):
        load(worker, f"{module}:{name}")


@pytest.mark.parametrize(
    ("content", "why"), [("import nowhere", "No module"), ("1/0", "division"), ("(", "SyntaxError")]
)
def test_a_module_that_cannot_be_imported_is_refused(worker: Worker, tmp_path: Path, content: str, why: str):
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(UsageError, match=f"cannot be imported: .*{why}"):
        load(worker, f"{tmp_path / 'broken.py'}:f")


def test_two_tools_of_one_name_are_told_apart(worker: Worker, module: Path, tmp_path: Path):
    other = tmp_path / "yours.py"
    other.write_text(MODULE)
    box = toolbox(
        [load(worker, f"{module}:leave"), load(worker, f"{other}:leave"), load(worker, f"{module}:count")], []
    )
    assert list(box.tools) == ["mine_leave", "yours_leave", "count"]
    assert [tool["function"]["name"] for tool in box.declarations] == list(box.tools)
    with pytest.raises(UsageError, match="two tools have the name mine_count"):
        toolbox([load(worker, f"{module}:count"), load(worker, f"{module}:count")], [])
    with pytest.raises(UsageError, match="unknown tool; the tools are count"):
        toolbox([load(worker, f"{module}:count")], ["cuont"])
