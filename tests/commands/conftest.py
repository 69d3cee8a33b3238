from __future__ import annotations

import pytest

from gemma_cli.cli import run
from gemma_cli.common import opening
from gemma_cli.media import audio
from tests.cli.helpers.command import Outcome
from tests.speech.words import WordEngine, loudness


@pytest.fixture
def engine(monkeypatch, tmp_path_factory) -> WordEngine:
    """What `gemma` runs with in the test, in a home with nothing in it."""
    engine = WordEngine()
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(opening, "open_engine", lambda spec: engine)
    monkeypatch.setattr(audio, "VoiceDetector", lambda: loudness)
    monkeypatch.setenv("GEMMA_MODEL", "pocket")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    return engine


@pytest.fixture
def gemma(engine, capsys, monkeypatch, tmp_path):
    """Run a command line in tmp_path."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return command
