"""What a user sees of recordings that are damaged, have several tracks, or are in a language that was not named."""

import json
import sys

import numpy as np
import pytest
import soundfile

from gemma_cli.core.messages import SAMPLE_RATE
from tests.speech.words import ROOT, pause, record, say


def cut(path, *stretches):
    """A recording of which the last half second was lost."""
    record(path, *stretches)
    path.write_bytes(path.read_bytes()[: -SAMPLE_RATE * 2])


def test_what_can_be_read_is_written_and_the_damage_is_named_with_exit_code_1(gemma, tmp_path):
    cut(tmp_path / "a.wav", pause(1), say([1, 2]), pause(2))
    outcome = gemma("transcribe", "a.wav")
    assert (outcome.code, outcome.out) == (1, "w1 w2\n")
    assert outcome.err == (
        "gemma: a.wav: cut off (the header gives a length of 0:00:03.7) at 0:00:03.2; "
        "only the undamaged parts are transcribed; copy the file again\n"
    )
    files = gemma("transcribe", "a.wav", "-o", ".")
    assert (files.code, (tmp_path / "a.txt").read_text()) == (1, "w1 w2\n")


def test_a_damaged_recording_does_not_end_a_batch(gemma, tmp_path):
    record(tmp_path / "0.wav", say([1]), pause(1))
    cut(tmp_path / "1.wav", say([2]), pause(2))
    record(tmp_path / "2.wav", say([3]), pause(1))
    outcome = gemma("transcribe", "*.wav", "--format", "txt")
    assert outcome.code == 1
    assert [line for line in outcome.out.splitlines() if line.startswith("w")] == ["w1", "w2", "w3"]
    assert "1 of 3 files failed: 1.wav: cut off" in outcome.err


@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_without_pyav_a_joined_recording_is_read_or_the_rest_is_reported(gemma, monkeypatch, tmp_path, name):
    spoken = soundfile.read(ROOT / "gemma_cli/samples/cat.en.wav")[0]
    soundfile.write(tmp_path / name, spoken, SAMPLE_RATE)
    one = (tmp_path / name).read_bytes()
    monkeypatch.setitem(sys.modules, "av", None)
    assert gemma("transcribe", name).code == 0
    (tmp_path / name).write_bytes(one + one)
    outcome = gemma("transcribe", name, "--json")
    seconds = len(spoken) / SAMPLE_RATE
    if name == "a.flac":
        assert (outcome.code, json.loads(outcome.out)["duration_s"]) == (0, pytest.approx(2 * seconds, abs=0.01))
        return
    assert outcome.code == 1
    assert "of sound not read (the file has several recordings) at 0:00:0" in outcome.err
    assert "to read the entire file: pip install 'gemma-cli[video]'" in outcome.err
    assert json.loads(outcome.out)["damage"][0]["at"] == pytest.approx(seconds, abs=0.1)


def test_json_holds_the_damage_and_null_where_there_is_none(gemma, tmp_path):
    cut(tmp_path / "a.wav", say([1]), pause(2))
    record(tmp_path / "b.wav", say([1]), pause(1))
    outcome = gemma("transcribe", "a.wav", "b.wav", "--json")
    damaged, sound = map(json.loads, outcome.out.splitlines())
    assert [round(damage["at"], 1) for damage in damaged["damage"]] == [1.9]
    assert sound["damage"] is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat sleeps under the table.", "English"),
        ("Der Hund schläft unter dem Tisch.", "German"),
        ("Le chien dort sous la table.", "French"),
        ("347", None),
    ],
)
def test_json_names_the_language_that_was_heard(gemma, engine, tmp_path, text, language):
    record(tmp_path / "a.wav", say([1]), pause(1))
    engine.reply = lambda request, samples: text
    assert json.loads(gemma("transcribe", "a.wav", "--json").out)["language"] == language
    assert json.loads(gemma("transcribe", "a.wav", "--json", "--language", "Dutch").out)["language"] == "Dutch"


def test_the_speed_of_a_batch_is_told_once(gemma, tmp_path):
    for name in "abc":
        record(tmp_path / f"{name}.wav", *[part for word in range(8) for part in (say([word]), pause(1.7))])
    outcome = gemma("transcribe", "a.wav", "b.wav", "c.wav", "-o", "out")
    told = [line for line in outcome.err.splitlines() if "real time" in line]
    assert len(told) == 1
    assert told[0].startswith("gemma: 3 recordings: 0:00:49 transcribed in 0:00:0")


def test_channels_that_cancel_are_transcribed_and_the_user_is_told(gemma, tmp_path):
    samples = np.concatenate([say([1, 2]), pause(1)])
    soundfile.write(tmp_path / "a.wav", np.stack([samples, -samples], axis=1), SAMPLE_RATE, subtype="FLOAT")
    outcome = gemma("transcribe", "a.wav")
    assert (outcome.code, outcome.out) == (0, "w1 w2\n")
    assert "the channels cancel each other out" in outcome.err
    assert gemma("transcribe", "a.wav", "--quiet").err == ""


def test_a_track_is_taken_by_its_language(gemma, tmp_path):
    pytest.importorskip("av")
    from tests.media.made_videos import Track, make

    tracks = [
        Track([(0, np.concatenate([say([word]), pause(1)]))], "flac", {"language": tag}, rate=SAMPLE_RATE)
        for word, tag in ((100, "ger"), (200, "eng"))
    ]
    make(tmp_path / "a.mkv", tracks, "matroska", 2.0)
    told = gemma("transcribe", "a.mkv")
    assert (
        "of 2 sound tracks, gemma reads track 1 (German), not 2 (English) (to read another track, give --track)"
        in told.err
    )
    other = gemma("transcribe", "a.mkv", "--track", "en")
    assert (other.code, other.err) == (0, "")
    assert other.out != told.out
    gemma("transcribe", "a.mkv", "--track", "3").refuses("--track 3 does not exist", "1 (German), 2 (English)")
