"""Help and version: quick because nothing heavy is imported, and useful because every command shows examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from typer.testing import CliRunner

from gemma_cli import __version__, cli
from gemma_cli.cli import COMMANDS
from gemma_cli.common.environment import WAITING
from tests.cli.helpers.command import Gemma, Outcome

HEAVY = {"torch", "transformers", "numpy", "PIL", "soundfile", "librosa", "huggingface_hub", "prompt_toolkit"}
"""What no listing may import."""


def imported(*arguments: str) -> tuple[str, set[str]]:
    """(what a command line printed, the modules in sys.modules after it)."""
    script = (
        "import sys, json\n"
        "from gemma_cli.cli import run\n"
        f"run({list(arguments)!r})\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["-h"], ["chta"]])
def test_listings_import_nothing_heavy(arguments: list[str]) -> None:
    _, modules = imported(*arguments)
    assert "gemma_cli.cli" in modules
    assert not modules & HEAVY
    assert not commands_among(modules)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_that_command_alone_and_shows_examples(command: str) -> None:
    printed, modules = imported(command, "--help")
    assert commands_among(modules) == {command}
    assert not modules & {"torch", "transformers", "numpy"}
    assert printed.partition("Examples")[2].count(f"gemma {command}") >= 2, printed


def commands_among(modules: set[str]) -> set[str]:
    return {command for command in COMMANDS if f"gemma_cli.commands.{command.replace('-', '_')}" in modules}


def test_every_command_is_listed_with_its_summary(gemma: Gemma) -> None:
    listed = gemma("--help")
    bare = gemma()
    assert listed.code == bare.code == 0
    for command, summary in COMMANDS.items():
        assert f" {command} " in listed.out
        assert summary in listed.out
        assert command in bare.out


def test_version(gemma: Gemma) -> None:
    assert gemma("--version") == Outcome(0, f"gemma {__version__}\n", "")


def test_a_narrow_page_of_help_has_every_name_in_full_and_breaks_no_word() -> None:
    tree = json.loads(imported("help", "--json")[0])
    for path, command in [([], tree), *commands_below(tree)]:
        narrow, wide = (help_at(tuple(path), columns) for columns in ("60", "400"))
        assert max(map(len, narrow.partition("Examples")[0].splitlines())) <= 60 < max(map(len, wide.splitlines()))
        assert words_of(narrow) <= words_of(wide), (path, words_of(narrow) - words_of(wide))
        for option in command["options"]:
            shown = [line.split() for line in narrow.splitlines() if line.lstrip().startswith("-")]
            names = [{word.rstrip(",") for word in line} for line in shown]
            assert any(set(option["flags"]) <= words for words in names), (path, option["flags"])
        assert not re.search(r"<\w+( range)?>|…", narrow), path


def commands_below(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[list[str], dict[str, Any]]]:
    for name, below in tree["commands"].items():
        yield [*above, name], below
        yield from commands_below(below, (*above, name))


@cache
def help_at(path: tuple[str, ...], columns: str) -> str:
    return CliRunner().invoke(cli.app, [*path, "--help"], env={"COLUMNS": columns}).output


def words_of(text: str) -> set[str]:
    """Its words; a line may end inside one only at a hyphen or a slash."""
    return set(re.findall(r"[\w]+", text))


def test_help_for_programs_describes_every_command(gemma: Gemma) -> None:
    tree = json.loads(gemma("help", "--json").out)
    assert list(tree["commands"]) == list(COMMANDS)
    assert set(tree["exit_codes"]) == {"0", "1", "2", "130"}
    flags = {flag: option for option in tree["commands"]["chat"]["options"] for flag in option["flags"]}
    assert flags["--top-p"]["type"] == "0..1"
    assert flags["--top-p"]["default"] == 0.95
    assert flags["--top-p"]["environment"] == "GEMMA_TOP_P"
    assert flags["--dtype"]["values"] == ["auto", "float32", "bfloat16", "float16"]
    assert flags["--think"]["type"] == "flag"
    assert flags["--image"]["repeatable"]
    below = json.loads(gemma("help", "--json", "config", "set").out)
    assert [(argument["name"], argument["names"]) for argument in below["arguments"]] == [
        ("KEY", "settings"),
        ("VALUE", None),
    ]
    shells = json.loads(gemma("help", "--json", "completion").out)["arguments"][0]
    assert shells["values"] == ["bash", "zsh", "fish"]


def test_help_of_a_command_by_name(gemma: Gemma) -> None:
    assert gemma("help", "config", "set").out == gemma("config", "set", "--help").out
    gemma("help", "nothing").refuses("there is no command nothing")


@pytest.mark.parametrize(
    ("given", "found"), [({}, "0"), ({"GOMP_SPINCOUNT": "9"}, "9"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(given: dict[str, str], found: str) -> None:
    script = "import os\nfrom gemma_cli.cli import run\nrun(['--version'])\nprint(os.environ.get('GOMP_SPINCOUNT'))\n"
    others = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=others | given
    )
    assert done.stdout.splitlines()[-1] == found
