import contextlib
import io
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media import container
from gemma_cli.media.audio import Part, duration, read_audio, speech, survey
from gemma_cli.media.sound import libsndfile

SAMPLES = Path(__file__).parents[2] / "gemma_cli" / "samples"
PARTS = [(Part(), 2.0), (Part(0.5), 1.5), (Part(0.5, 1.25), 0.75), (Part(1, 9), 1.0)]

RNG = np.random.default_rng(0)


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path, samples, rate=SAMPLE_RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (8000, 1)])
def test_every_format_becomes_mono_16_khz(tmp_path, extension, rate, channels):
    path = write(tmp_path / f"a.{extension}", np.repeat(tone(1.0, rate)[:, None], channels, axis=1), rate)
    heard = read_audio(path)
    assert heard.samples.dtype == np.float32
    assert heard.samples.ndim == 1
    assert abs(len(heard.samples) / SAMPLE_RATE - 1.0) < 0.01
    assert np.abs(heard.samples).max() <= 1.0
    spectrum = np.abs(np.fft.rfft(heard.samples))
    assert abs(np.argmax(spectrum) * SAMPLE_RATE / len(heard.samples) - 440) < 2


def test_16_khz_float_samples_pass_unchanged(tmp_path):
    samples = RNG.uniform(-1, 1, 5000).astype(np.float32)
    assert (read_audio(write(tmp_path / "a.wav", samples, subtype="FLOAT")).samples == samples).all()


def test_channels_are_averaged(tmp_path):
    left, right = tone(0.5), tone(0.5, hertz=1000)
    heard = read_audio(write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT"))
    assert (heard.samples == (left + right) / 2).all()


def test_resampling_in_blocks_is_resampling_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(libsndfile, "_BLOCK", 1000)
    samples = RNG.uniform(-0.5, 0.5, 44100).astype(np.float32)
    heard = read_audio(write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT"))
    whole = soxr.resample(samples, 44100, SAMPLE_RATE, quality="HQ")
    assert len(heard.samples) == len(whole)
    np.testing.assert_allclose(heard.samples, whole, atol=1e-6)


def test_loud_float_samples_are_clipped(tmp_path):
    heard = read_audio(write(tmp_path / "a.wav", 3 * tone(0.2), subtype="FLOAT"))
    assert np.abs(heard.samples).max() == 1.0


def test_silence_is_sound(tmp_path):
    assert not read_audio(write(tmp_path / "a.flac", np.zeros(SAMPLE_RATE))).samples.any()


def test_the_digest_is_of_what_was_decoded(tmp_path):
    samples = (tone(0.3) * 32767).astype(np.int16)
    one = read_audio(write(tmp_path / "a.wav", samples))
    same = read_audio(write(tmp_path / "b.flac", samples))
    other = read_audio(write(tmp_path / "c.wav", samples[1:]))
    assert one == same
    assert one != other


def test_one_channel_can_be_chosen(tmp_path):
    left, right = tone(0.5), tone(0.5, hertz=1000)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    with path.open("rb") as file:
        chosen = np.concatenate(list(survey(file, "a.wav", Part(channel=2)).samples()))
        assert (chosen == right).all()
        with pytest.raises(InputError, match=r"a\.wav: --channel 3 does not exist; the sound has 2 channels"):
            survey(file, "a.wav", Part(channel=3))


@pytest.mark.parametrize(("part", "seconds"), PARTS)
def test_the_duration_is_that_of_the_part(tmp_path, part, seconds):
    with write(tmp_path / "a.wav", tone(2.0)).open("rb") as file:
        assert duration(survey(file, "a.wav", part), part) == seconds


SOUNDS = ["wav", "flac", "ogg", "mp3", "m4a", "webm", "mkv"]


@pytest.mark.parametrize("extension", SOUNDS)
def test_what_is_said_is_found_in_every_format_each_time_it_is_read(tmp_path, extension):
    av = pytest.importorskip("av")
    said, rate = soundfile.read(SAMPLES / "cat.en.wav", dtype="float32")
    said = np.concatenate([np.zeros(rate, np.float32), said, np.zeros(rate, np.float32)])
    path = tmp_path / f"a.{extension}"
    codec = {"m4a": "aac", "webm": "libopus", "mkv": "libopus"}.get(extension)
    if codec:
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(soxr.resample(said, rate, 48000)[None], format="fltp", layout="mono")
            frame.rate = 48000
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    else:
        write(path, soxr.resample(said, rate, 44100), 44100)
    with path.open("rb") as file:
        assert duration(survey(file, path.name)) == pytest.approx(len(said) / rate, abs=0.1)
        for part in (Part(), Part(0.5), Part(0.5, 60.0), Part(channel=1)):
            (piece,) = speech(survey(file, path.name, part), part)
            assert piece.start == pytest.approx(1.06, abs=0.15)
            assert piece.end == pytest.approx(2.98, abs=0.15)
        (half,) = speech(survey(file, path.name), Part(1.5, 2.0))
        assert half.start >= 1.5
        assert half.end <= 2.0
        assert len(half.audio.samples) <= 0.5 * SAMPLE_RATE


def test_a_part_after_the_end_is_refused(tmp_path):
    with (
        write(tmp_path / "a.wav", tone(2.0)).open("rb") as file,
        pytest.raises(InputError, match=r"a\.wav: the sound ends after 2\.0 s, before the start of --clip"),
    ):
        survey(file, "a.wav", Part(3, 4))


def test_thirty_seconds_are_one_prompt_and_more_are_not(tmp_path):
    assert len(read_audio(write(tmp_path / "a.wav", tone(30))).samples) == 480_000
    with pytest.raises(InputError, match=r"b\.wav: the audio is longer than 30 s.*use gemma transcribe"):
        read_audio(write(tmp_path / "b.wav", tone(30.1)))


def test_standard_input(tmp_path, monkeypatch):
    data = write(tmp_path / "a.flac", tone(0.5)).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    heard = read_audio("-")
    assert heard.name == "standard input"
    assert len(heard.samples) == 8000


@pytest.mark.parametrize("declared", [0xFFFFFFFF, 0x7FFFFFDB])
def test_a_wav_written_into_a_pipe_does_not_know_its_length(tmp_path, declared):
    path = write(tmp_path / "a.wav", tone(0.5))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 40, declared)
    path.write_bytes(data)
    assert len(read_audio(path).samples) == 8000


def bad_text(path):
    path.write_text("this is not sound\n" * 50)


def bad_empty(path):
    path.touch()


def bad_missing(path):
    pass


def bad_directory(path):
    path.mkdir()


def bad_fifo(path):
    os.mkfifo(path)


def bad_no_samples(path):
    write(path, np.zeros(0))


def bad_too_short(path):
    write(path, np.zeros(100))


def bad_header_only(path):
    path.write_bytes(write(path, tone(1)).read_bytes()[:44])


def bad_truncated(path):
    path.write_bytes(write(path, tone(1)).read_bytes()[:16044])


def bad_truncated_flac(path):
    path.write_bytes(write(path, RNG.uniform(-1, 1, 32000), format="FLAC").read_bytes()[:20000])


def bad_nan(path):
    samples = tone(1)
    samples[8000] = np.nan
    write(path, samples, subtype="FLOAT")


def bad_infinite(path):
    samples = tone(1)
    samples[8000] = np.inf
    write(path, samples, subtype="DOUBLE")


def bad_loop(path):
    path.symlink_to(path)


def bad_rate(path):
    write(path, tone(1), rate=7)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (bad_missing, "no such file"),
        (bad_directory, "a folder, not a file"),
        (bad_empty, "empty"),
        (bad_text, "not sound.*ffmpeg"),
        (bad_fifo, "not a regular file"),
        (bad_no_samples, "no sound"),
        (bad_too_short, "too short"),
        (bad_header_only, "no sound"),
        (bad_truncated, r"cut off \(the header gives a length of 0:00:01.0\) at 0:00:00.5"),
        (bad_truncated_flac, "cut off"),
        (bad_nan, "invalid samples"),
        (bad_infinite, "invalid samples"),
        (bad_loop, "cannot be opened"),
        (bad_rate, "the sample rate is 7 Hz"),
    ],
)
def test_bad_input_is_one_line_naming_the_file(tmp_path, spoil, complaint):
    path = tmp_path / "talk.wav"
    spoil(path)
    with pytest.raises(InputError, match=rf"talk\.wav: .*{complaint}") as caught:
        read_audio(path)
    assert "\n" not in str(caught.value)
    assert "<_io" not in str(caught.value)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/random", "/proc/self/mem"])
def test_devices_are_refused(device):
    with pytest.raises(InputError, match=device):
        read_audio(device)


def test_names_that_are_no_paths():
    with pytest.raises(InputError, match="cannot be opened"):
        read_audio("a\0b.wav")
    with pytest.raises(InputError, match="does not accept web addresses"):
        read_audio("https://example.com/a.wav")


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_damage_is_decoded_or_refused_never_anything_else(tmp_path, extension):
    whole = write(tmp_path / f"a.{extension}", tone(0.3, 22050), 22050).read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / f"damaged.{extension}"
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(0, min(len(data), 200))] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data) + 1)])
        with contextlib.suppress(InputError):
            assert np.abs(read_audio(path).samples).max() <= 1.0


def test_the_decoder_says_nothing_of_its_own(tmp_path, capfd):
    path = write(tmp_path / "a.mp3", RNG.uniform(-0.5, 0.5, 32000))
    data = bytearray(path.read_bytes())
    data[1000:1200] = bytes(200)
    path.write_bytes(data[:-2000])
    with contextlib.suppress(InputError):
        read_audio(path)
    assert capfd.readouterr() == ("", "")
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"


def test_without_pyav_the_formats_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "available", lambda: False)
    bad_text(tmp_path / "a.m4a")
    with pytest.raises(InputError, match=r"a\.m4a: not sound.*WAV, FLAC.*gemma-cli\[video\]"):
        read_audio(tmp_path / "a.m4a")


@pytest.mark.parametrize(("extension", "codec"), [("m4a", "aac"), ("webm", "libopus"), ("mp4", "aac")])
def test_with_pyav_there_are_more_formats(tmp_path, extension, codec):
    av = pytest.importorskip("av")
    path = tmp_path / f"a.{extension}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([tone(1.0, 48000)] * 2), format="fltp", layout="stereo")
        frame.rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    heard = read_audio(path)
    assert abs(len(heard.samples) / SAMPLE_RATE - 1.0) < 0.1
    spectrum = np.abs(np.fft.rfft(heard.samples))
    assert abs(np.argmax(spectrum) * SAMPLE_RATE / len(heard.samples) - 440) < 2
