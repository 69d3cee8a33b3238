"""Killed at any moment and run again, a transcription says what it would have said, and decodes nothing twice."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.cli.helpers.warm import Piped
from tests.speech import words
from tests.speech.words import pause, record, say

ROOT = Path(__file__).parents[2]
PIECES = 40

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="commands are forks of one process")


@pytest.fixture
def begin(tmp_path, forks):
    """Starts a command in an environment."""
    numbers = itertools.count()
    running = []

    def started(environment, *arguments):
        written = tmp_path / f"written{next(numbers)}"
        running.append(Piped(forks, [*map(str, arguments)], environment, ROOT, written, script=words.__file__))
        return running[-1]

    yield started
    for process in running:
        process.close()


@pytest.fixture
def world(tmp_path):
    """(environment, log of what was decoded) of a home with nothing in it."""
    log = tmp_path / "log"
    log.touch()
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "GEMMA_MODEL": "pocket",
        "WORDS_LOG": str(log),
        "PYTHONPATH": str(ROOT),
    }, log


def begin_and_wait(begin, environment, log, lines, *arguments):
    """Once so many pieces are decoded in all; two more, and it waits for ever."""
    process = begin(environment | {"WORDS_MOST": str(lines + 2)}, *arguments)
    while len(log.read_text().splitlines()) < lines:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def long(tmp_path):
    rng = random.Random(1)
    stretches = [(say([rng.randrange(900) for _ in range(4)]), pause(rng.uniform(0.7, 2))) for _ in range(PIECES - 4)]
    sound = [part for stretch in stretches for part in stretch]
    return record(tmp_path / "long.wav", *sound, say([rng.randrange(900) for _ in range(250)]), pause(1.0))


def test_killed_and_run_again_the_bytes_are_the_same_and_nothing_is_done_twice(tmp_path, world, long, begin):
    environment, log = world
    formats = ["-f", "srt", "-f", "json", "-f", "txt"]
    whole = begin(environment, "transcribe", long, "-o", tmp_path / "whole", *formats)
    assert whole.wait() == 0, whole.communicate()
    pieces = log.read_text().splitlines()
    assert len(set(pieces)) == len(pieces) >= PIECES - 1

    log.write_text("")
    rng = random.Random(2)
    kills = (3, 11, 19, 27, 35)
    for lines in kills:
        arguments = ("transcribe", long, "-o", tmp_path / "parts", *formats)
        process = begin_and_wait(begin, environment, log, lines, *arguments)
        time.sleep(rng.uniform(0, 0.03))  # anywhere in a piece
        kill(process)
        assert not list((tmp_path / "parts").glob("long.*"))
    last = begin(environment, "transcribe", long, "-o", tmp_path / "parts", *formats)
    _, said = last.communicate()
    assert last.returncode == 0
    assert "continuing an interrupted run" in said
    for form in ("srt", "json", "txt"):
        assert (tmp_path / "parts" / f"long.{form}").read_bytes() == (tmp_path / "whole" / f"long.{form}").read_bytes()
    decoded = log.read_text().splitlines()
    assert set(decoded) == set(pieces)
    assert len(decoded) <= len(pieces) + len(kills)
    assert not list((tmp_path / "state").rglob("*.jsonl"))


def test_interrupted_by_hand_it_says_how_to_go_on(tmp_path, world, long, begin):
    environment, log = world
    process = begin_and_wait(begin, environment, log, 3, "transcribe", long)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said == f"gemma: {long}: interrupted; to continue, run the same command again\n"


@pytest.mark.slow
def test_another_input_or_question_starts_anew(tmp_path, world, long, begin):
    environment, log = world
    kill(begin_and_wait(begin, environment, log, 10, "transcribe", long))
    (journal,) = (tmp_path / "state").rglob("*.jsonl")
    assert journal.stat().st_mode & 0o777 == 0o600
    assert journal.parent.stat().st_mode & 0o777 == 0o700
    begun = len(log.read_text().splitlines())
    for arguments in (["--language", "de"], ["--context", "Suresh"], ["--clip", "0-60"]):
        log.write_text("")
        process = begin(environment, "transcribe", long, *arguments)
        _, said = process.communicate()
        assert process.returncode == 0
        assert "interrupted" not in said
    log.write_text("")
    done = begin(environment, "transcribe", long)
    _, said = done.communicate()
    assert "continuing an interrupted run" in said
    assert len(log.read_text().splitlines()) <= PIECES + 2 - (begun - 1)
