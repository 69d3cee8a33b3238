"""Pipes, full disks and foreign locales: the answer or one line about why not, never a traceback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.helpers.command import SAMPLES, Gemma


def shell(program: str, environment: dict[str, str], command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `gemma` is the command under test; a pipeline fails where any part of it does."""
    script = f'gemma() {{ "{program}" "$@"; }}\nset -o pipefail\n{command}'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=SAMPLES,
        env=environment | env,
        timeout=300,
        check=False,
    )


def test_a_reader_that_has_enough_is_left_in_peace(program: str, environment: dict[str, str]) -> None:
    done = shell(program, environment, 'gemma chat "Count from 1 to 60." --temperature 0 | head -c 4')
    assert (done.stdout, done.stderr) == (b"1, 2", b""), done
    done = shell(program, environment, "gemma models | true; echo ${PIPESTATUS[0]}")
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_an_error(program: str, environment: dict[str, str]) -> None:
    done = shell(program, environment, "gemma models > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"gemma: cannot write to standard output: No space left on device\n"
    done = shell(program, environment, "gemma --help > /dev/full")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


def test_a_closed_stdout_is_an_error(program: str, environment: dict[str, str]) -> None:
    done = shell(program, environment, "gemma models >&-")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done
    assert b"standard output" in done.stderr


def test_closed_stdin_and_stderr_do_not_matter(program: str, environment: dict[str, str]) -> None:
    done = shell(program, environment, "gemma models <&-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"pocket" in done.stdout
    done = shell(program, environment, "gemma transcribe missing.wav 2>&-")
    assert (done.returncode, done.stdout) == (2, b"")
    done = shell(program, environment, "gemma transcribe - <&-")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", None])
def test_no_locale_makes_a_name_or_a_text_unprintable(installed_gemma: Gemma, encoding: str | None) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    env = plain | ({"PYTHONIOENCODING": encoding} if encoding else {})
    refused = installed_gemma("transcribe", os.fsdecode(b"gr\xc3\xbc\xc3\x9fe \xff.wav"), env=env)
    refused.refuses("no such file")


def test_text_that_does_not_fit_the_encoding_is_replaced_not_refused(installed_gemma: Gemma) -> None:
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    outcome = installed_gemma("chat", "Repeat: schön", "--temperature", "0", stdin=b"\xff\xfe", env=env)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert outcome.out.endswith("\n")


BROKEN = """\
import gemma_cli.store.models.catalogue as catalogue

def broken():
    raise ZeroDivisionError("on purpose")

catalogue.catalogue = broken
"""


def test_a_bug_is_one_line_and_the_traceback_is_there_for_those_who_ask(installed_gemma: Gemma, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    env = {"PYTHONPATH": str(tmp_path)}
    installed_gemma("models", env=env).refuses("internal error", "ZeroDivisionError", "GEMMA_DEBUG=1", code=1)
    shown = installed_gemma("models", env=env | {"GEMMA_DEBUG": "1"})
    assert shown.code == 1
    assert "Traceback" in shown.err
    assert "on purpose" in shown.err


ELSEWHERE = """\
import gemma_cli.store.models.catalogue as catalogue

def broken():
    print("half an answer")
    raise OSError(28, "No space left on device", *{name})

catalogue.catalogue = broken
"""


@pytest.mark.parametrize(("name", "blamed"), [((), "a temporary file"), (("/full/file",), "/full/file")])
def test_a_disk_that_is_full_elsewhere_is_not_blamed_on_stdout(
    installed_gemma: Gemma, tmp_path: Path, name: tuple[str, ...], blamed: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE.format(name=name))
    outcome = installed_gemma("models", env={"PYTHONPATH": str(tmp_path)})
    assert (outcome.code, outcome.out) == (1, "half an answer\n")
    assert (
        outcome.err == f"gemma: {blamed}: the file cannot be written (No space left on device); free some disk space\n"
    )
