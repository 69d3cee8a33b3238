"""Python functions as tools: how they are declared, called, and refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gemma_cli.core.errors import UsageError
from gemma_cli.tools import ToolFailed, toolbox
from gemma_cli.tools.functions import load
from gemma_cli.views.signals import orderly_exit
from training.data.dialogue import ADD, NOW

SAMPLE = Path(__file__).parents[2] / "docs" / "samples" / "tools.py"

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
    """End the program, as a signal does."""
    import signal
    signal.raise_signal(signal.SIGTERM)
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


def test_a_function_is_declared_by_its_hints_and_docstring():
    for name, declared in (("add", ADD), ("now", NOW)):
        function = {**load(f"{SAMPLE}:{name}").declaration["function"]}
        assert function.pop("return")
        assert function == declared["function"]


def test_arguments_become_what_the_hints_ask_for(module: Path, capsys: pytest.CaptureFixture[str]):
    divide, pick = load(f"{module}:divide"), load(f"{module}:pick")
    assert divide.run({"a": "9"}) == 4.5
    told = pick.run({"colour": "red", "names": ["x"]})
    assert (told["red"], told["set"], told["bad"]) == (["x"], [1], "NaN")
    assert capsys.readouterr().out == "", "what a tool prints is no answer"


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("divide", {"a": 1, "b": 0}, "ZeroDivisionError: float division by zero"),
        ("divide", {}, "a: Missing required argument"),
        ("divide", {"a": "one"}, "a: Input should be a valid number"),
        ("divide", {"a": 1, "c": 1}, "c: Unexpected keyword argument"),
        ("pick", {"colour": "green", "names": []}, "colour: Input should be 'red' or 'blue'"),
        ("leave", {}, "SystemExit: 3"),
    ],
)
def test_what_goes_wrong_in_a_tool_is_told(module: Path, name: str, arguments: dict[str, object], why: str):
    with pytest.raises(ToolFailed, match=why):
        load(f"{module}:{name}").run(arguments)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_signal_that_ends_the_program_is_no_failure_of_the_tool(module: Path):
    tool = load(f"{module}:end")
    with orderly_exit(), pytest.raises(SystemExit) as ended:
        tool.run({})
    assert ended.value.code == 143


def test_two_functions_of_a_module_share_it(module: Path):
    assert load(f"{module}:count").run({}) + load(f"{module}:count_twice").run({}) == 1 + 2 + 3


@pytest.mark.parametrize("name", ["undescribed", "undocumented", "unhinted", "late", "counter", "nothing"])
def test_a_function_that_cannot_be_declared_is_refused(module: Path, name: str):
    with pytest.raises(UsageError, match=f"mine.py:{name}: .*(docstring|type hint|no function)"):
        load(f"{module}:{name}")


@pytest.mark.parametrize(
    ("content", "why"), [("import nowhere", "No module"), ("1/0", "division"), ("(", "SyntaxError")]
)
def test_a_module_that_cannot_be_imported_is_refused(tmp_path: Path, content: str, why: str):
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(UsageError, match=f"cannot be imported: .*{why}"):
        load(f"{tmp_path / 'broken.py'}:f")


def test_two_tools_of_one_name_are_told_apart(module: Path, tmp_path: Path):
    other = tmp_path / "yours.py"
    other.write_text(MODULE)
    box = toolbox([load(f"{module}:leave"), load(f"{other}:leave"), load(f"{module}:count")], [])
    assert list(box.tools) == ["mine_leave", "yours_leave", "count"]
    assert [tool["function"]["name"] for tool in box.declarations] == list(box.tools)
    with pytest.raises(UsageError, match="two tools are called mine_count"):
        toolbox([load(f"{module}:count"), load(f"{module}:count")], [])
    with pytest.raises(UsageError, match="no such tool; there are: count"):
        toolbox([load(f"{module}:count")], ["cuont"])
