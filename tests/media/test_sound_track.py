"""The sound of videos: at the times a player shows, from the right track, in whatever form."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from gemma_cli.core.errors import InputError
from gemma_cli.media.audio import WHOLE, Part, survey
from gemma_cli.media.sound.timeline import Timeline
from tests.media.made_videos import RATE, Track, edit_sound, heard, make, tones

THREE = tones(400, 800, 1200)
TOLERANCE_S = 0.1


def read(path, part=WHOLE):
    """(tones, what was found out) of a file."""
    with path.open("rb") as file:
        sound = survey(file, path.name, part)
        return heard(np.concatenate(list(sound.samples()))), sound.findings


def check(path, expected, part=WHOLE):
    """Compare the tones of a file, and return what was found out."""
    found, findings = read(path, part)
    assert [pitch for _, pitch in found] == [pitch for _, pitch in expected]
    for (second, _), (wanted, _) in zip(found, expected, strict=True):
        assert abs(second - wanted) <= TOLERANCE_S
    assert not findings.damage
    return findings


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("matroska", "aac"),
        ("matroska", "libopus"),
        ("mp4", "aac"),
        ("mpegts", "aac"),
        ("mpegts", "mp2"),
        ("nut", "aac"),
    ],
)
@pytest.mark.parametrize("first", [0.0, 7.0])
def test_sound_that_begins_late_or_has_a_hole_is_where_a_player_plays_it(tmp_path, form, codec, first):
    """first: what all time stamps begin at, which a player takes for 0; but the time line of MP4 begins at 0."""
    late = make(tmp_path / "late", [Track([(2.0, THREE)], codec)], form, 6.0, first)
    begins = first if form == "mp4" else 0.0
    check(late, [(begins + 2.2, 400), (begins + 3.2, 800), (begins + 4.2, 1200)])
    parted = make(tmp_path / "hole", [Track([(0, THREE[:RATE]), (2.5, THREE[RATE:])], codec)], form, 6.0, first)
    findings = check(parted, [(begins + 0.2, 400), (begins + 2.7, 800), (begins + 3.7, 1200)])
    (remark,) = findings.remarks
    assert "s of sound are missing" in remark


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([(3, -1), (3, 0)], [(3.2, 400), (4.2, 800), (5.2, 1200)]),
        ([(2, 1)], [(0.2, 800), (1.2, 1200)]),
        ([(1, 0), (1, 2)], [(0.2, 400), (1.2, 1200)]),
        ([(1, 2), (1, 0)], [(0.2, 1200), (1.2, 400)]),
        ([(1, 0), (1.5, -1), (2, 1)], [(0.2, 400), (2.7, 800), (3.7, 1200)]),
    ],
    ids=["late", "trimmed", "cut", "reordered", "parted"],
)
def test_edit_lists_are_followed(tmp_path, edits, expected):
    path = make(tmp_path / "a.mp4", [Track([(0, THREE)])], "mp4", 6.0)
    edit_sound(path, edits)
    check(path, expected)


def test_recordings_joined_in_one_transport_stream_follow_each_other_with_their_pictures(tmp_path):
    for name, pitches in (("a", (400, 800)), ("b", (1200, 1600))):
        make(tmp_path / name, [Track([(0, tones(*pitches))], "mp2")], "mpegts", 3.0)
    path = tmp_path / "both.ts"
    path.write_bytes((tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes())
    check(path, [(0.2, 400), (1.2, 800), (3.2, 1200), (4.2, 1600)])


def test_a_hole_of_an_hour_takes_no_memory(tmp_path):
    path = make(tmp_path / "a.mkv", [Track([(0, THREE), (3500, THREE)], "libopus")], "matroska")
    with path.open("rb") as file:
        tracemalloc.start()
        sound = survey(file, "a.mkv")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sound.length / RATE == pytest.approx(3503, abs=0.1)
    assert peak < 20e6


def test_a_broken_time_stamp_makes_no_silence_of_days():
    timeline = Timeline(0.0)
    assert timeline.place(0, 0.0, 1.0) == 0.0
    assert timeline.place(0, 1e9, 1.0) == 1.0
    assert timeline.place(0, 1e9 + 1, 1.0) == 2.0


def test_a_hole_is_kept_where_the_pictures_go_on():
    timeline = Timeline(0.0)
    timeline.place(1, 0.0, 1.0)
    for second in range(9000):
        timeline.place(0, second, 1.0)
    assert timeline.place(1, 9000.0, 1.0) == 9000.0


GERMAN = Track([(0, tones(400))], metadata={"language": "ger", "title": "Kommentar"})
ENGLISH = Track([(0, tones(800))], metadata={"language": "eng"})


@pytest.mark.parametrize("flagged", [0, 1])
def test_the_default_track_is_taken_and_the_others_are_reported(tmp_path, flagged):
    tracks = [GERMAN, ENGLISH]
    tracks[flagged] = Track(tracks[flagged].stretches, metadata=tracks[flagged].metadata, default=True)
    path = make(tmp_path / "a.mkv", tracks, "matroska", 2.0)
    (remark,) = check(path, [(0.2, (400, 800)[flagged])]).remarks
    names = ['1 (German, "Kommentar")', "2 (English)"]
    taken, other = names[flagged], names[1 - flagged]
    assert remark == f"of 2 sound tracks, gemma reads track {taken}, not {other} (to read another track, give --track)"


@pytest.mark.parametrize(("wanted", "pitch"), [("1", 400), ("2", 800), ("de", 400), ("deu", 400), ("English", 800)])
def test_a_track_is_chosen_by_number_or_language(tmp_path, wanted, pitch):
    path = make(tmp_path / "a.mkv", [GERMAN, ENGLISH], "matroska", 2.0)
    assert check(path, [(0.2, pitch)], Part(track=wanted)).remarks == []


@pytest.mark.parametrize("wanted", ["0", "3", "fr", "klingon", "-1"])
def test_a_track_that_is_not_there_is_refused_with_those_that_are(tmp_path, wanted):
    path = make(tmp_path / "a.mkv", [GERMAN, ENGLISH], "matroska", 2.0)
    with pytest.raises(
        InputError, match=rf'--track {wanted} does not exist; .* 1 \(German, "Kommentar"\), 2 \(English\)'
    ):
        read(path, Part(track=wanted))


def test_a_video_without_a_sound_track_is_named_as_one(tmp_path):
    path = make(tmp_path / "a.mp4", [], "mp4", 1.0)
    with pytest.raises(InputError, match=r"a\.mp4: the video has no sound track"):
        read(path)


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.ac3", "ac3", "ac3"),
        ("a.eac3", "eac3", "eac3"),
        ("a.wv", "wv", "wavpack"),
        ("a.tta", "tta", "tta"),
        ("a.mp2", "mp2", "mp2"),
        ("a.aac", "adts", "aac"),
        ("a.vob", "vob", "mp2"),
        ("a.mts", "mpegts", "ac3"),
        ("a.mxf", "mxf", "pcm_s16le"),
        ("a.avi", "avi", "mp2"),
        ("a.wma", "asf", "wmav2"),
    ],
)
def test_what_ffmpeg_reads_is_read(tmp_path, name, form, codec):
    check(make(tmp_path / name, [Track([(0, THREE)], codec)], form, 4.0 if form == "mxf" else 0), [
        (0.2, 400), (1.2, 800), (2.2, 1200),
    ])  # fmt: skip


def test_dts_is_read():
    """PyAV has no encoder for it: the file was made with ffmpeg."""
    check(Path(__file__).with_name("tone.dts"), [(0.2, 400)])


def test_sound_that_changes_its_form_midway_keeps_its_times(tmp_path):
    """Rates, channels and sample formats may change from frame to frame; ffmpeg's own resampler refuses that."""
    stereo = Track([(0, tones(1200, 1600))], "mp2", layout="stereo", rate=32_000)
    make(tmp_path / "a", [Track([(0, tones(400, 800))], "mp2")], "mpegts", 2.0)
    make(tmp_path / "b", [stereo], "mpegts", 2.0)
    path = tmp_path / "both.ts"
    path.write_bytes((tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() + (tmp_path / "a").read_bytes())
    check(path, [(0.2, 400), (1.2, 800), (2.2, 1200), (3.2, 1600), (4.2, 400), (5.2, 800)])
