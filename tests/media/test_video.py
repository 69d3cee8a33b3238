import fractions
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media import video
from gemma_cli.media.scenes import Changes, distance
from gemma_cli.media.video import FrameChoice, read_video, video_parts

av = pytest.importorskip("av")


def video_file(path, seconds, rate=5, size=(64, 48), keyframes=10, turned=0):
    """Grey frames, each as bright as the second it belongs to; turned: degrees to the left, as phones note it."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=rate)
        stream.set_display_rotation(turned)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = keyframes
        for number in range(round(seconds * rate)):
            brightness = min(255, 2 * (number // rate))
            pixels = np.full((size[1], size[0], 3), brightness, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    return path


def brightness(frame):
    return frame.pixels.mean()


@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi", "mov"])
def test_a_frame_each_second(tmp_path, extension):
    seen = read_video(video_file(tmp_path / f"a.{extension}", 4.2))
    assert seen.seconds == pytest.approx([0, 1, 2, 3, 4], abs=0.05)
    assert [frame.pixels.shape for frame in seen.frames] == [(48, 64, 3)] * 5
    assert [brightness(frame) for frame in seen.frames] == pytest.approx([0, 2, 4, 6, 8], abs=1.5)
    assert seen.frames[1].name.endswith(f"a.{extension} at 1.0 s")
    assert len({frame.digest for frame in seen.frames}) == 5


def test_a_long_video_is_spread_over_sixty_frames(tmp_path):
    seen = read_video(video_file(tmp_path / "a.mp4", 120, rate=2))
    assert len(seen.frames) == 60
    assert seen.seconds == pytest.approx(range(0, 120, 2), abs=0.6)


def test_seeking_finds_the_frames_that_decoding_finds(tmp_path, monkeypatch):
    path = video_file(tmp_path / "a.mp4", 60, rate=4, keyframes=12)
    sought = read_video(path, FrameChoice(most=8))
    monkeypatch.setattr(video, "_SKIP_SECONDS", 1e9)
    decoded = read_video(path, FrameChoice(most=8))
    assert sought.seconds == decoded.seconds
    assert len(sought.frames) == 8
    for one, other in zip(sought.frames, decoded.frames, strict=True):
        assert brightness(one) == pytest.approx(brightness(other), abs=1)


def test_large_frames_are_scaled_down(tmp_path):
    (frame,) = read_video(video_file(tmp_path / "a.mp4", 0.4, size=(1920, 1080))).frames
    height, width, _ = frame.pixels.shape
    assert width * height <= 1_001_000
    assert width / height == pytest.approx(16 / 9, abs=0.01)


@pytest.mark.parametrize(
    ("choice", "seconds"),
    [
        (FrameChoice(fps=2.5), [0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0, 4.4, 4.8, 5.2, 5.6]),
        (FrameChoice(fps=0.5), [0, 2, 4]),
        (FrameChoice(start=2, end=4), [2, 3]),
        (FrameChoice(start=1.5), [1.6, 2.6, 3.6, 4.6, 5.6]),
        (FrameChoice(most=3), [0, 2, 4]),
        (FrameChoice(start=2, most=2), [2, 4]),
    ],
)
def test_frames_are_chosen_by_time(tmp_path, choice, seconds):
    seen = read_video(video_file(tmp_path / "a.mp4", 6), choice)
    assert seen.seconds == pytest.approx(seconds, abs=0.11)


def test_a_part_that_begins_after_the_end_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.mp4: the video ends before 20 s, the start of --clip"):
        read_video(video_file(tmp_path / "a.mp4", 3), FrameChoice(start=20))


def test_frames_that_do_not_come_evenly_are_taken_by_their_times(tmp_path):
    times = [0, 100, 150, 900, 1000, 1040, 3100, 3200, 5000]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, 1000)
        for number, ms in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = ms, fractions.Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    seen = read_video(path)
    assert seen.seconds == pytest.approx([0, 1, 3.1, 3.2, 5.0], abs=0.002)


def test_a_video_in_parts_is_all_of_it_once(tmp_path):
    path = video_file(tmp_path / "a.mp4", 10)
    with path.open("rb") as file:
        parts = list(video_parts(file, "a.mp4", FrameChoice(most=4), scenes=False))
    assert [(part.start, round(part.end)) for part in parts] == [(0, 4), (4, 8), (8, 10)]
    assert [second for part in parts for second in part.video.seconds] == pytest.approx(range(10), abs=0.01)


def test_a_part_begins_where_the_picture_changes(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for ground in ((200, 30, 30), (200, 30, 30), (30, 30, 200), (30, 200, 30), (30, 200, 30)):
            pixels = np.full((48, 64, 3), ground, np.uint8)
            for _ in range(5):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    with path.open("rb") as file:
        parts = list(video_parts(file, "a.mp4", FrameChoice(), scenes=True))
    assert [part.start for part in parts] == pytest.approx([0, 2, 3])
    assert [len(part.video.frames) for part in parts] == [2, 1, 2]


def test_a_video_of_unknown_length_is_spread_over_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_length", lambda container: 0.0)
    seen = read_video(video_file(tmp_path / "a.mp4", 30, rate=2), FrameChoice(most=8))
    assert seen.seconds == pytest.approx(range(0, 30, 4), abs=0.6)


def test_a_long_video_is_held_a_part_at_a_time(tmp_path):
    path = video_file(tmp_path / "a.mp4", 90, rate=2, size=(640, 480))
    sizes = []
    with path.open("rb") as file:
        tracemalloc.start()
        for part in video_parts(file, "a.mp4", FrameChoice(most=10), scenes=False):
            del part
            sizes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert sizes[-1] < 1.2 * sizes[2], "memory does not grow with the video"


def test_the_distance_of_two_pictures():
    assert distance(np.array([0.5, 0.5, 0]), np.array([0, 0.5, 0.5])) == 0.5
    changes = Changes()
    grey = np.full((48, 64, 3), 100, np.uint8)
    assert [changes.seen(grey + add) for add in (np.uint8(0), np.uint8(4), np.uint8(99), np.uint8(99))] == [
        False, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("turned", "shape"), [(0, (48, 64)), (90, (64, 48)), (180, (48, 64)), (-90, (64, 48))])
def test_a_video_held_sideways_is_turned_upright(tmp_path, turned, shape):
    (frame,) = read_video(video_file(tmp_path / "a.mp4", 0.4, turned=turned)).frames
    assert frame.pixels.shape[:2] == shape


def test_a_video_of_one_frame(tmp_path):
    assert len(read_video(video_file(tmp_path / "a.mp4", 0.2)).frames) == 1


def text(path):
    path.write_text("not a video\n" * 100)


def cut(path):
    whole = video_file(path, 3).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def sound_only(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def playlist(path):
    other = video_file(path.with_name("other.mp4"), 1)
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n")


def script(path):
    video_file(path.with_name("other.mp4"), 1)
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.touch(), "empty"),
        (text, "not sound or video"),
        (cut, "no pictures"),
        (sound_only, "the video has no pictures"),
        (playlist, "not sound or video"),
        (script, "not sound or video"),
    ],
    ids=["missing", "empty", "text", "cut", "sound", "m3u8", "ffconcat"],
)
def test_bad_input_is_one_line_naming_the_file(tmp_path, spoil, complaint):
    path = tmp_path / "video.mp4"
    spoil(path)
    with pytest.raises(InputError, match=rf"video\.mp4: .*({complaint})") as caught:
        read_video(path)
    assert "\n" not in str(caught.value)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"a video")
    with pytest.raises(UsageError, match=r"a\.mp4.*pip install 'gemma-cli\[video\]'"):
        read_video(tmp_path / "a.mp4")


def test_importing_costs_nothing():
    code = (
        "import sys, gemma_cli.media.audio, gemma_cli.media.pictures.image, gemma_cli.media.video\n"
        "print(sorted({'numpy', 'PIL', 'soundfile', 'soxr', 'av', 'librosa', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
