"""Sound files as they come: joined, without a length, damaged, with channels that cancel each other out, quiet."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("av")

from gemma_cli.core.errors import InputError
from gemma_cli.media.audio import WHOLE, Part, read_audio, survey
from gemma_cli.media.input_files import sound_files
from gemma_cli.media.sound.findings import Findings
from gemma_cli.media.sound.level import raised
from gemma_cli.media.sound.mixing import Mixer
from gemma_cli.media.sound.mpeg_frames import frame_seconds
from gemma_cli.media.voice_activity import FRAME, VoiceDetector
from tests.media.made_videos import RATE, Track, heard, make, tones

SAMPLES = Path(__file__).parents[2] / "gemma_cli" / "samples"


def read(path, part=WHOLE):
    """(tones, what was found out) of a file."""
    with path.open("rb") as file:
        sound = survey(file, path.name, part)
        return heard(np.concatenate(list(sound.samples()))), sound.findings


def check(path, expected, damaged_at=None):
    """Compare the tones of a file, and the second of its damage."""
    found, findings = read(path)
    assert [pitch for _, pitch in found] == [pitch for _, pitch in expected]
    for (second, _), (wanted, _) in zip(found, expected, strict=True):
        assert abs(second - wanted) <= 0.15  # encoders of MP3 and AAC put up to 0.1 s before and behind
    if damaged_at is None:
        assert not findings.damage
    else:
        assert findings.damage[0].at == pytest.approx(damaged_at, abs=0.5)
    return findings


def written(path, pitches, rate=RATE, channels=1, **options):
    samples = np.repeat(tones(*pitches, rate=rate)[:, None], channels, axis=1)
    soundfile.write(path, samples, rate, **options)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("a.mp3", {}, {}),
        ("a.mp3", {}, {"rate": 44_100, "channels": 2}),
        ("a.ogg", {}, {}),
        ("a.ogg", {"rate": 44_100}, {"rate": 22_050, "channels": 2}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, {"format": "OGG", "subtype": "OPUS"}),
        ("a.ogg", {}, {"format": "OGG", "subtype": "OPUS"}),
        ("a.flac", {}, {}),
        ("a.wav", {}, {"rate": 44_100, "channels": 2, "subtype": "FLOAT"}),
    ],
)
def test_files_that_follow_each_other_in_one_are_all_read(tmp_path, name, first, second):
    path = tmp_path / name
    path.write_bytes(written(path, (400, 800), **first) + written(path, (1200, 1600), **second))
    check(path, [(0.2, 400), (1.2, 800), (2.2, 1200), (3.2, 1600)])


def test_where_joined_recordings_begin_is_known(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(written(path, (400, 800)) + written(path, (400,), rate=44_100) + written(path, (800,)))
    with path.open("rb") as file:
        assert [round(seam / 16_000, 1) for seam in survey(file, "a").seams] == [2.0, 3.0]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_length_of_an_mp3_is_counted_from_its_frames(tmp_path, rate, channels):
    one = written(tmp_path / "a.mp3", (400, 800), rate, channels)
    damaged = one[:2000] + b"\xff" * 50 + one[2000:]
    for content, parts in ((one, 1), (one + b"TAG" + b"x" * 125 + one, 2), (damaged, 1)):
        (tmp_path / "b.mp3").write_bytes(content)
        with (tmp_path / "b.mp3").open("rb") as file:
            seconds = frame_seconds(file)
        assert 2 * parts - 0.1 <= seconds <= 2.3 * parts


@pytest.mark.parametrize(("codec", "form"), [("aac", "adts"), ("mp2", "mp2"), ("ac3", "ac3")])
def test_bare_streams_that_follow_each_other_are_all_read(tmp_path, codec, form):
    one, two = (make(tmp_path / str(pitch), [Track([(0, tones(pitch))], codec)], form) for pitch in (400, 800))
    path = tmp_path / f"a.{form}"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    check(path, [(0.2, 400), (1.2, 800)])


def test_tags_between_joined_mp3s_are_no_damage(tmp_path):
    path = tmp_path / "a.mp3"
    tag = b"ID3\3\0\0\0\0\1\x6a" + b"TIT2" + struct.pack(">I", 224) + b"\0\0" + b"x" * 224
    path.write_bytes(written(path, (400,)) + b"TAG" + b"x" * 125 + tag + written(path, (800,)))
    check(path, [(0.2, 400), (1.2, 800)])


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF, 0x7FFFFFDB])
def test_a_wav_of_a_recorder_that_crashed_is_read(tmp_path, declared):
    path = tmp_path / "a.wav"
    data = bytearray(written(path, (400, 800)))
    struct.pack_into("<I", data, 4, declared)
    struct.pack_into("<I", data, 40, declared)
    path.write_bytes(data)
    check(path, [(0.2, 400), (1.2, 800)])


def test_a_flac_without_a_length_is_read(tmp_path):
    path = tmp_path / "a.flac"
    data = bytearray(written(path, (400, 800)))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    check(path, [(0.2, 400), (1.2, 800)])


EIGHT = (400, 800, 1200, 1600, 2000, 2400, 2800, 3200)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_what_is_there_of_a_file_that_was_cut_off_is_read(tmp_path, name):
    path = tmp_path / name
    data = written(path, EIGHT)
    path.write_bytes(data[: len(data) * 6 // 10])
    found, findings = read(path)
    count = len(found)
    assert count >= 3
    assert [pitch for _, pitch in found] == list(EIGHT[:count])
    assert "cut off" in findings.summary()
    assert findings.damage[0].at == pytest.approx(count - 0.5, abs=1.5)


@pytest.mark.parametrize(
    ("form", "codec"), [("flac", "flac"), ("ogg", "libopus"), ("mpegts", "aac"), ("matroska", "aac")]
)
def test_what_follows_damage_is_read_at_its_time(tmp_path, form, codec):
    path = make(tmp_path / "a", [Track([(0, tones(*EIGHT))], codec)], form)
    data = path.read_bytes()
    at, lost = len(data) // 2, len(data) // 20
    path.write_bytes(data[:at] + data[at + lost :])
    found, findings = read(path)
    times = {pitch: second for second, pitch in found}
    assert len(times.keys() & set(EIGHT)) >= 6
    for number, pitch in enumerate(EIGHT):
        if pitch in times and number != 4:  # the middle one may have lost a part
            assert times[pitch] == pytest.approx(number + 0.2, abs=0.1)
    if form in ("mpegts", "matroska"):  # these do not always know that something is missing, but the hole is named
        assert findings.damage or "s of sound are missing" in findings.remarks[0]
    else:
        assert findings.damage[0].at == pytest.approx(4.0, abs=1.2)


def test_samples_that_are_no_numbers_are_silent_damage(tmp_path):
    path = tmp_path / "a.wav"
    samples = tones(400, 800)
    samples[RATE - 100 : RATE + 100] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    check(path, [(0.2, 400), (1.2, 800)], damaged_at=1.0)
    with pytest.raises(
        InputError, match=r"a\.wav: invalid samples \(NaN or infinity\) at 0:00:01\.0; copy the file " "again"
    ):
        read_audio(path)


def mixed(channels, channel=None):
    """(float32 [n], remarks) of channels given in blocks of odd lengths."""
    findings = Findings()
    block = np.stack(channels, axis=1).astype(np.float32)
    mixer = Mixer(RATE, block.shape[1], "a.wav", findings, channel)
    parts = [mixer(block[start : start + 7001]) for start in range(0, len(block), 7001)] + [mixer.rest()]
    return np.concatenate(parts), findings.remarks


VOICE = tones(400, 800, 1200)


def test_channels_that_cancel_each_other_out_are_noticed_and_one_is_taken():
    samples, remarks = mixed([VOICE, -VOICE])
    assert (samples == VOICE).all()
    assert remarks[0].startswith("the channels cancel each other out for 3 s, so gemma reads only channel 1 there (to")
    louder, remarks = mixed([-0.8 * VOICE, VOICE])
    assert (louder == VOICE).all()
    assert "only channel 2" in remarks[0]


def test_only_the_seconds_in_which_channels_cancel_are_taken_from_one():
    half = np.concatenate([VOICE, VOICE])
    other = np.concatenate([VOICE, -VOICE])
    samples, (remark,) = mixed([half, other])
    np.testing.assert_allclose(samples, half, atol=1e-6)
    assert "for 3 s" in remark


def test_a_silent_channel_does_not_make_the_others_weaker():
    samples, remarks = mixed([0 * VOICE, VOICE])
    assert (samples == VOICE).all()
    assert remarks == ["channel 1 of 2 is silent and not used"]
    silent = 0 * VOICE
    centre, remarks = mixed([silent, silent, VOICE, silent, silent, silent])
    assert (centre == VOICE).all()
    assert remarks == ["channels 1, 2, 4, 5, 6 of 6 are silent and not used"]


def test_two_who_speak_in_turns_on_their_own_channels_are_both_heard():
    quiet = 0.1 * tones(2000, 2400, 2800)
    samples, remarks = mixed([np.concatenate([VOICE, 0 * VOICE]), np.concatenate([0 * VOICE, quiet])])
    assert remarks == []
    assert np.abs(samples[len(VOICE) :]).max() == pytest.approx(0.5 * np.abs(quiet).max())


def test_a_channel_that_is_chosen_is_taken_as_it_is():
    assert (mixed([VOICE, -VOICE], channel=2)[0] == -VOICE).all()


@pytest.mark.parametrize("decibels", [-20, -30, -40, -50, -60])
def test_a_quiet_piece_is_raised_to_where_the_model_hears_it(decibels):
    voice, _ = soundfile.read(SAMPLES / "cat.en.wav", dtype="float32")
    quiet = voice * np.float32(10 ** (decibels / 20))
    loud = raised(quiet)
    frames = np.sqrt(np.square(loud[: len(loud) // 512 * 512].reshape(-1, 512)).mean(axis=1))
    assert 20 * np.log10(np.percentile(frames, 95)) == pytest.approx(-26, abs={-50: 1, -60: 12}.get(decibels, 0.5))
    np.testing.assert_allclose(loud / np.abs(loud).max(), voice / np.abs(voice).max(), atol=1e-4)


def test_a_loud_piece_and_silence_are_left_as_they_are():
    voice, _ = soundfile.read(SAMPLES / "cat.en.wav", dtype="float32")
    assert raised(voice) is voice
    assert not raised(np.zeros(RATE, np.float32)).any()
    assert raised(np.zeros(10, np.float32)).shape == (10,)


@pytest.mark.parametrize("decibels", [0, -20, -40, -50, -60])
def test_a_voice_is_found_at_any_level_and_noise_and_tones_are_not(decibels):
    gain = 10 ** (decibels / 20)
    voice, _ = soundfile.read(SAMPLES / "cat.en.wav", dtype="float32")
    voice = np.round(voice[: len(voice) // FRAME * FRAME] * gain * 32768) / 32768
    found = VoiceDetector()(voice.astype(np.float32))
    whole = VoiceDetector()(soundfile.read(SAMPLES / "cat.en.wav", dtype="float32")[0][: len(voice)])
    assert ((found > 0.5) & (whole > 0.5)).sum() >= 0.9 * (whole > 0.5).sum()
    length = 400 * FRAME
    white = np.random.default_rng(0).normal(0, 0.2, length) * gain
    chord = sum(0.1 * np.sin(2 * np.pi * pitch * np.arange(length) / RATE) for pitch in (262, 330, 392)) * gain
    for noise in (white, chord, np.zeros(length)):
        assert not (VoiceDetector()(noise.astype(np.float32)) > 0.5).any()


def test_folders_give_the_videos_and_sounds_in_them_but_no_programs(tmp_path):
    names = ["a.mts", "a.m2ts", "a.vob", "a.mp2", "a.ts", "a.ac3", "a.dts", "a.wv", "a.tta", "a.mxf"]
    for name in names:
        (tmp_path / name).write_bytes(b"\0\0\0\0G" if name == "a.m2ts" else b"G\0\0\0\0")
    (tmp_path / "page.ts").write_text("export const answer = 42;\n")
    (tmp_path / "page.mts").write_text("import fs from 'node:fs';\n")
    assert {str(file.relative) for file in sound_files([str(tmp_path)])} == set(names)


def test_a_file_with_one_track_has_no_other(tmp_path):
    path = tmp_path / "a.wav"
    written(path, (400,))
    assert read(path, Part(track="1"))[0] == [(0.2, 400)]
    with pytest.raises(InputError, match="--track 2 does not exist"):
        read(path, Part(track="2"))
