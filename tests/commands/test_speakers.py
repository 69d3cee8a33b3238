"""`gemma transcribe --speakers channels`: who speaks is told by the channel."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from gemma_cli.core.messages import SAMPLE_RATE
from tests.speech.words import pause, record, say


def channels(path, *sounds):
    """Write a recording with a channel for each sound."""
    length = max(map(len, sounds))
    samples = np.stack([np.pad(sound, (0, length - len(sound))) for sound in sounds], 1)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")


@pytest.fixture
def call(tmp_path):
    """The second speaker interrupts the first, who goes on later."""
    first = np.concatenate([pause(0.5), say([1, 2, 3]), pause(2.0), say([4]), pause(1.0)])
    channels(tmp_path / "call.wav", first, np.concatenate([pause(1.0), say([5, 6]), pause(1.0)]))


def test_each_channel_is_a_speaker_and_who_speaks_at_once_overlaps(gemma, call):
    outcome = gemma("transcribe", "call.wav", "--speakers", "channels=Anna,Ben", "--json")
    told = json.loads(outcome.out)
    assert [(row["speaker"], row["text"]) for row in told["segments"]] == [
        ("Anna", "w1 w2 w3"), ("Ben", "w5 w6"), ("Anna", "w4"),
    ]  # fmt: skip
    assert [row["id"] for row in told["segments"]] == [0, 1, 2]
    first, second, _ = told["segments"]
    assert first["start"] < second["start"] < first["end"]
    assert gemma("transcribe", "call.wav", "--speakers", "channels").out == (
        "Speaker 1: w1 w2 w3\nSpeaker 2: w5 w6\nSpeaker 1: w4\n"
    )


def test_it_is_written_into_files_of_every_format(gemma, call, tmp_path):
    command = ("transcribe", "call.wav", "--speakers", "channels=Anna,Ben", "-o", "out", "-f", "txt", "-f", "vtt")
    assert gemma(*command).code == 0
    assert (tmp_path / "out" / "call.txt").read_text() == "Anna: w1 w2 w3\nBen: w5 w6\nAnna: w4\n"
    assert (tmp_path / "out" / "call.vtt").read_text().count("<v Anna>") == 2


def test_one_file_that_cannot_be_told_apart_does_not_stop_the_others(gemma, call, tmp_path):
    """Whichever of the files is wrong, in whichever place: the channels of one are never taken for those of another."""
    record(tmp_path / "mono.wav", say([7]), pause(1.0))
    channels(tmp_path / "three.wav", say([1]), say([2]), say([3]))
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "again.wav").write_bytes((tmp_path / "call.wav").read_bytes())
    order = ["call.wav", "mono.wav", "three.wav", "text.wav", "again.wav", "missing.wav"]
    for turn in range(len(order)):
        files = order[turn:] + order[:turn]
        outcome = gemma("transcribe", *files, "--speakers", "channels=Anna,Ben")
        assert outcome.code == 1
        assert outcome.out.count("Anna: w1 w2 w3\nBen: w5 w6\nAnna: w4\n") == 2
        assert "w7" not in outcome.out
        assert "mono.wav: the recording has only one channel" in outcome.err
        assert "three.wav: --speakers has 2 names, but the recording has 3 channels" in outcome.err
        assert "4 of 6 files failed" in outcome.err


@pytest.mark.parametrize("value", ["", "two", "channels=", "channels=Anna,", "channel"])
def test_what_it_means_is_told(gemma, call, value):
    outcome = gemma("transcribe", "call.wav", f"--speakers={value}")
    assert outcome.code == 2
    assert "give channels, or channels=NAME,NAME" in outcome.err


@pytest.mark.parametrize("option", [("--channel", 1), ("--mic",)])
def test_it_reads_every_channel_of_files(gemma, call, option):
    files = () if option == ("--mic",) else ("call.wav",)
    outcome = gemma("transcribe", *files, "--speakers", "channels", *option)
    assert (outcome.code, outcome.out) == (2, "")
    assert option[0] in outcome.err
