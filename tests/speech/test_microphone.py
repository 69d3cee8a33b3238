"""What is said into the microphone. No device is here: the blocks come from a file, as a device's thread gives them."""

import io
import json
import os
import signal
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
import soxr

from gemma_cli.cli import run
from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media.sound import microphone, microphone_stream
from gemma_cli.media.sound.microphone_stream import Incoming
from gemma_cli.speech.dictation import meter
from tests.speech.words import hear, loudness, pause, record, say

LIMIT_S = 120


@pytest.fixture
def speaks(monkeypatch):
    """Let a file be spoken into the microphone, in blocks of 20 ms, and end it as Ctrl-C does, or by itself."""
    monkeypatch.setattr(microphone_stream, "VoiceDetector", lambda: loudness)
    monkeypatch.setattr(microphone, "check_microphone", lambda: None)

    def speak(path, until=None, end=lambda incoming: os.kill(os.getpid(), signal.SIGINT)):
        info = soundfile.info(path)

        class Spoken(Incoming):
            def pieces(self):
                threading.Thread(target=self._give_all, daemon=True).start()
                return super().pieces()

            def _give_all(self):
                for block in soundfile.blocks(path, info.samplerate // 50, dtype="float32", always_2d=True):
                    if until:
                        until(self)
                    self.give(block)
                end(self)

        @contextmanager
        def opened(channel=None):
            yield Spoken(info.samplerate, "microphone (a file)", channel)

        monkeypatch.setattr(microphone, "microphone", opened)

    return speak


def test_what_is_said_is_written_down_until_ctrl_c(gemma, speaks, tmp_path):
    speaks(record(tmp_path / "a.wav", pause(1.0), say([1, 2, 3]), pause(2.0), say([4, 5])))
    handler = signal.getsignal(signal.SIGINT)
    outcome = gemma("transcribe", "--mic")
    assert (outcome.code, outcome.out) == (0, "w1 w2 w3\nw4 w5\n")
    assert outcome.err == "gemma: listening to the microphone (a file); Ctrl-C stops the recording\n"
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_segment_appears_before_the_next_is_spoken(engine, speaks, tmp_path, monkeypatch):
    said = threading.Event()

    class Screen(io.StringIO):
        def write(self, text):
            if "w1" in text:
                said.set()
            return super().write(text)

    def wait(incoming):
        if incoming.heard_s > 2.5 and not said.wait(LIMIT_S):
            incoming.stop()

    speaks(record(tmp_path / "a.wav", say([1]), pause(3.0), say([2]), pause(1.0)), until=wait)
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    assert run(["transcribe", "--mic", "-q"]) == 0
    assert screen.getvalue() == "w1\nw2\n"


def test_a_device_of_another_rate_and_with_two_channels_is_heard(gemma, engine, speaks, tmp_path):
    heard = soxr.resample(np.concatenate([say(range(100, 105)), pause(1.0)]), SAMPLE_RATE, 44_100)
    soundfile.write(tmp_path / "a.wav", np.stack([heard * 0, heard], 1), 44_100, subtype="FLOAT")
    speaks(tmp_path / "a.wav")
    engine.reply = lambda request, samples: f"{len(samples) / SAMPLE_RATE:.1f} s, {abs(samples).max() > 0.12}"
    told = json.loads(gemma("transcribe", "--mic", "--json", "--channel", "2").out)
    assert told["text"] == "2.0 s, True"  # mixed with the silent channel it would be half as loud
    assert told["duration_s"] == pytest.approx(2.75, abs=0.03)
    assert [(row["start"], row["end"]) for row in told["segments"]] == [(0, pytest.approx(1.75, abs=0.1))]


def test_files_are_written_at_the_end_whatever_ends_it(gemma, engine, speaks, tmp_path):
    path = record(tmp_path / "a.wav", say([1]), pause(1.0), say([2]), pause(1.0), say([3]), pause(1.0))
    command = ("transcribe", "--mic", "-o", "out", "--output-template", "said.{format}", "-f", "srt", "-f", "txt")
    speaks(path, end=lambda incoming: incoming.stop())
    outcome = gemma(*command)
    assert (outcome.code, outcome.out) == (0, "w1\nw2\nw3\n")
    assert (tmp_path / "out" / "said.txt").read_text() == outcome.out
    assert (tmp_path / "out" / "said.srt").read_text().count("-->") == 3

    def interrupted(request, samples):
        if hear(samples) == "w3":
            raise KeyboardInterrupt  # the second Ctrl-C
        return hear(samples)

    engine.reply = interrupted
    assert gemma(*command, "--overwrite").code == 130
    assert (tmp_path / "out" / "said.txt").read_text() == "w1\nw2\n"


def test_silence_is_told(gemma, engine, speaks, tmp_path):
    speaks(record(tmp_path / "a.wav", pause(3.0)))
    outcome = gemma("transcribe", "--mic")
    assert (outcome.code, outcome.out, outcome.err.splitlines()[1]) == (0, "", "gemma: nobody spoke (3.0 s)")
    assert engine.requests == []


def test_the_meter_tells_level_time_and_what_waits():
    incoming = Incoming(100, "microphone")
    assert meter(incoming) == "0:00:00 ▁ -60 dB"
    incoming.give(np.full((500, 1), 0.1, np.float32))
    assert meter(incoming) == "0:00:05 ▆ -20 dB, 5 s behind"
    incoming.give(np.zeros((100, 1), np.float32))
    assert meter(incoming) == "0:00:06 ▆ -22 dB, 6 s behind"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--mic a.wav", ["--mic and files cannot be combined: leave out --mic or the files"]),
        ("--mic --clip 0-5", ["--clip", "--mic"]),
        ("--mic -f txt -f srt", ["-o DIR"]),
        ("", ["name a file", "--mic"]),
    ],
)
def test_what_does_not_fit_together_is_refused(gemma, arguments, words):
    gemma("transcribe", *arguments.split()).refuses(*words)


def test_the_extra_is_named(gemma, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    gemma("transcribe", "--mic").refuses("sounddevice", "pip install 'gemma-cli[mic]'")
    assert engine.requests == []
