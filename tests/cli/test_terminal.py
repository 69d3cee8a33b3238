"""The command on a terminal: streaming, colour where it is wanted, Ctrl-C, and a conversation that remembers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.cli.helpers.command import SAMPLES
from tests.cli.helpers.held import LOADING, REPLYING, held
from tests.repl.driven_terminal import Forked, end

LIMIT_S = 300


@contextmanager
def terminal(
    program: str, environment: dict[str, str], *arguments: str, forks: Path | None = None, **env: str
) -> Iterator[pexpect.spawn | Forked]:
    """A run on a pseudo-terminal of 80 columns; in a fork of the process that listens at `forks`, if that is given."""
    child: pexpect.spawn | Forked
    options = {"encoding": "utf-8", "timeout": LIMIT_S}
    if forks:
        child = Forked(forks, None, list(arguments), (24, 80), environment | env, SAMPLES, **options)
    else:
        variables = environment | env
        child = pexpect.spawn(program, list(arguments), cwd=str(SAMPLES), env=variables, dimensions=(24, 80), **options)
    try:
        yield child
    finally:
        end(child)


def all_of(child: pexpect.spawn) -> str:
    """Everything until it ends."""
    child.expect(pexpect.EOF)
    child.wait()
    return str(child.before)


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(program: str, environment: dict[str, str], setting: dict[str, str]) -> None:
    with terminal(program, environment, "transcribe", "--help", **setting) as child:
        shown = all_of(child)
    assert "Examples" in shown
    assert not re.search(r"\x1b\[[0-9;]*3\d[;m]", shown), shown


def test_colour_on_a_terminal(program: str, environment: dict[str, str]) -> None:
    with terminal(program, environment, "transcribe", "--help") as child:
        assert "\x1b[" in all_of(child)


def test_ctrl_c_ends_a_reply_with_130(program: str, environment: dict[str, str], tmp_path: Path) -> None:
    arguments = ("chat", "Count from 1 to 80.", "--temperature", "0", "--draft-tokens", "0")
    with terminal(program, environment, *arguments, **held(tmp_path, REPLYING)) as child:
        child.expect("1, 2, 3")
        child.sendintr()
        shown = all_of(child)
    assert "Traceback" not in shown
    assert child.exitstatus == 130


def test_ctrl_c_while_loading_ends_with_130(program: str, environment: dict[str, str], tmp_path: Path) -> None:
    with terminal(program, environment, "chat", "Hello", **held(tmp_path, LOADING)) as child:
        child.expect("loading pocket")
        child.sendintr()
        shown = all_of(child)
    assert "Traceback" not in shown
    assert child.exitstatus == 130


PROMPT = re.escape("\x1b[?2004h")
"""The editor is ready: it asks the terminal to mark what is pasted."""


def test_a_conversation_remembers_until_it_is_cleared(
    program: str, forks: Path | None, environment: dict[str, str]
) -> None:
    said = [
        ("My name is Emma.", "Hello Emma!"),
        ("Spell garden.", "g-a-r-d-e-n"),
        ("What is my name?", "Your name is Emma"),
        ("/clear", ""),
        ("Hello", "How can I help you"),
    ]
    arguments = ["chat", "--temperature", "0", "--no-save"]
    with terminal(program, environment, *arguments, forks=forks) as child:
        for typed, answer in said:
            child.expect(PROMPT)
            child.send(f"{typed}\r")
            child.expect(re.escape(answer))
        child.expect(PROMPT)
        child.send("\x04")
        shown = all_of(child)
    assert "Traceback" not in shown
    assert child.exitstatus == 0
