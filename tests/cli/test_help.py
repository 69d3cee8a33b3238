"""Help and version: quick because nothing heavy is imported, and useful because every command shows examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gemma_cli import __version__
from gemma_cli.cli import COMMANDS, WAITING
from tests.cli.command import Gemma, Outcome

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


def test_every_command_is_listed_with_its_summary(installed_gemma: Gemma) -> None:
    listed = installed_gemma("--help")
    bare = installed_gemma()
    assert listed.code == bare.code == 0
    for command, summary in COMMANDS.items():
        assert f" {command} " in listed.out
        assert summary in listed.out
        assert command in bare.out


def test_version(installed_gemma: Gemma) -> None:
    assert installed_gemma("--version") == Outcome(0, f"gemma {__version__}\n", "")


def test_completion_offers_commands_and_options(installed_gemma: Gemma) -> None:
    offered = installed_gemma(env={"_GEMMA_COMPLETE": "complete_bash", "COMP_WORDS": "gemma tran", "COMP_CWORD": "1"})
    assert offered.out.split() == ["transcribe", "translate"]
    offered = installed_gemma(
        env={"_GEMMA_COMPLETE": "complete_bash", "COMP_WORDS": "gemma chat --sys", "COMP_CWORD": "2"}
    )
    assert offered.out.split() == ["--system"]


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
