"""Commands through a server: what they print, resume and refuse is the same as with an engine of this machine."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from gemma_cli.cli import run
from gemma_cli.media import audio
from tests.cli.helpers.command import Outcome
from tests.engines.remote.dialects import DialectServer, Fault, heard, serving
from tests.speech.words import loudness

Run = Callable[..., Outcome]

TOOL = '''
def add(a: int, b: int) -> int:
    """Add.

    Args:
        a: one
        b: other
    """
    return a + b
'''


@pytest.fixture
def server() -> Iterator[DialectServer]:
    with serving() as running:
        yield running


@pytest.fixture
def gemma(
    server: DialectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command line whose only engine is the server."""
    for name in [name for name in os.environ if name.startswith("GEMMA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GEMMA_ENGINE", server.url)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(audio, "VoiceDetector", lambda: loudness)
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return command


def recording(path: Path, number: int) -> Path:
    """A second of speech-like sound of its own."""
    noise = np.random.default_rng(number)
    t = np.arange(16_000) / 16_000
    soundfile.write(path, (0.3 * np.sin(2 * np.pi * (180 + number) * t) * noise.uniform(0.5, 1, t.size)), 16_000)
    return path


def test_an_answer_its_figures_and_what_is_not_promised(gemma: Run) -> None:
    done = gemma("chat", "Hello there, server.", "--json", "--seed", 7)
    told = json.loads(done.out)
    assert (told["model"], told["text"], told["finish_reason"]) == ("pocket", "Hello there, server.", "stop")
    assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "thinking_tokens": None}
    assert told["speculation"] is None
    assert told["timings"]["load_s"] is None
    assert done.err == "gemma: with vLLM, the same seed may give different texts\n"
    assert gemma("chat", "Hello", "-q").err == ""


def test_a_picture_is_described_in_the_command_s_own_words(gemma: Run, server: DialectServer, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    done = gemma("describe-image", "red.png")
    assert re.search(r"image-[0-9a-f]{8}", done.out)
    assert [part["type"] for part in server.requests[0][1]["messages"][-1]["content"]] == ["image_url", "text"]


def test_a_tool_is_called_and_answered(gemma: Run, server: DialectServer, tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(TOOL)

    def say(body: Mapping[str, Any]) -> str:
        answered = body["messages"][-1]["role"] == "tool"
        server.calls = [] if answered else [{"name": "add", "arguments": {"a": 123, "b": 456}}]
        return f"It is {heard(body)}." if answered else ""

    server.say = say
    done = gemma("chat", "What is 123 + 456?", "--tool", "tools.py:add", "--allow-tool", "add", "-q")
    assert done.out.strip() == "It is 579.", done.err


def test_many_recordings_finish_through_a_restart_and_each_is_asked_for_once_more_at_most(
    gemma: Run, server: DialectServer, tmp_path: Path
) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number in range(40):
        recording(folder / f"{number:03}.wav", number)
    server.pause = 0.005

    def restart() -> None:
        deadline = time.monotonic() + 30
        while len(server.requests) < 15 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.stop()
        time.sleep(0.5)
        server.start()

    restarting = threading.Thread(target=restart, daemon=True)
    restarting.start()
    server.faults.extend([Fault("none")] * 20 + [Fault("cut"), Fault("status", 503, {"Retry-After": "0"})])
    done = gemma("transcribe", "sounds", "-o", "out", "--concurrency", 6, "-q")
    restarting.join()
    assert (done.code, done.err) == (0, "")
    said = [path.read_text().strip() for path in sorted((tmp_path / "out").glob("*.txt"))]
    assert len(said) == 40
    assert all(re.search(r"audio-[0-9a-f]{8}$", text) for text in said)
    assert len(set(said)) == 40
    assert len(server.requests) <= 40 + 6 + 2
    assert server.most <= 6


def test_a_recording_goes_on_where_it_was_when_the_server_stays_away(
    gemma: Run, server: DialectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause, t = np.zeros(16_000), np.arange(20 * 16_000) / 16_000
    voice = 0.3 * np.sin(2 * np.pi * 200 * t) * (1 + np.sin(2 * np.pi * 4 * t))
    soundfile.write(tmp_path / "long.wav", np.concatenate([voice, pause, voice[::-1], pause, 0.5 * voice]), 16_000)
    server.faults.extend([Fault("none"), Fault("status", 429, {"Retry-After": "9999"})])
    first = gemma("transcribe", "long.wav", "--concurrency", 1)
    assert first.code == 1
    assert "busy" in first.err
    answered = len(server.requests)
    second = gemma("transcribe", "long.wav", "--concurrency", 1)
    assert second.code == 0, second.err
    whole = gemma("transcribe", "long.wav", "--concurrency", 1).out
    assert second.out == whole
    pieces = len(server.requests) - answered
    assert "1 " in second.err
    assert pieces > 2


def test_drafts_that_the_server_does_not_take_are_reported(gemma: Run) -> None:
    assert "--draft-tokens has no effect" in gemma("chat", "hi", "--draft-tokens", "2").err
    assert "--draft-tokens" not in gemma("chat", "hi").err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["chat", "hi", "--engine", "http://127.0.0.1:1"], "no server answers"),
        (["chat", "hi", "--engine", "ftp://x"], "not a valid address"),
        (["chat", "hi", "--model", "e4b"], "no model 'e4b'"),
        (["chat", "hi", "--think", "--thinking-budget", "5"], "--thinking-budget"),
        (["bench", "--sweep", "0,1"], "--sweep"),
        (["bench", "--against", "transformers"], "second server"),
        (["bench", "--concurrency", "0"], "--concurrency"),
    ],
)
def test_what_cannot_be_done_is_one_line(gemma: Run, arguments: list[str], named: str) -> None:
    done = gemma(*arguments, "-q")
    assert done.code in (1, 2)
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert named in done.err


def test_a_bench_judges_two_servers(gemma: Run, server: DialectServer) -> None:
    def says(body: Mapping[str, Any]) -> str:
        return heard(body).replace("40", "41")

    with serving("llama", say=says) as other:
        options = ("--against", other.url, "--concurrency", "1,3", "--runs", 1, "-q")
        told = json.loads(gemma("bench", *options, "--json").out)
        assert "The servers differ." in gemma("bench", *options).out
    ours, theirs = told["servers"]
    assert [level["concurrency"] for level in ours["levels"]] == [1, 3]
    assert all(level["tokens_per_second"]["median"] > 0 for level in ours["levels"])
    assert ours["levels"][0]["acceptance_rate"] is None
    assert theirs["levels"][0]["acceptance_rate"] == 0.25
    assert ours["texts_equal"]
    assert theirs["texts_equal"]
    assert not told["texts_equal"]
    assert told["first_divergence"]["texts"] == ["Count from 1 to 40.", "Count from 1 to 41."]
    assert told["first_divergence"]["character"] == len("Count from 1 to 4")


def test_a_bench_sees_that_load_changes_a_reply(gemma: Run, server: DialectServer) -> None:
    server.pause = 0.02
    server.say = lambda body: "always" if server.under_way < 3 else "under load"
    told = json.loads(gemma("bench", "--concurrency", "1,4", "--runs", 1, "-q", "--json").out)
    assert told["servers"][0]["texts_equal"] is False
    assert told["servers"][0]["first_divergence"]["concurrency"] == 4
    assert told["texts_equal"] is None
