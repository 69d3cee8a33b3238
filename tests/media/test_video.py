import subprocess
import sys

import numpy as np
import pytest

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media import video
from gemma_cli.media.video import read_video

av = pytest.importorskip("av")


def film(path, seconds, rate=5, size=(64, 48), keyframes=10, turned=0):
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
    seen = read_video(film(tmp_path / f"a.{extension}", 4.2))
    assert seen.seconds == pytest.approx([0, 1, 2, 3, 4], abs=0.05)
    assert [frame.pixels.shape for frame in seen.frames] == [(48, 64, 3)] * 5
    assert [brightness(frame) for frame in seen.frames] == pytest.approx([0, 2, 4, 6, 8], abs=1.5)
    assert seen.frames[1].name.endswith(f"a.{extension} at 1.0 s")
    assert len({frame.digest for frame in seen.frames}) == 5


def test_a_long_film_is_spread_over_sixty_frames(tmp_path):
    seen = read_video(film(tmp_path / "a.mp4", 120, rate=2))
    assert len(seen.frames) == 60
    assert seen.seconds == pytest.approx(range(0, 120, 2), abs=0.6)


def test_seeking_finds_the_frames_that_decoding_finds(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", 60, rate=4, keyframes=12)
    sought = read_video(path, max_frames=8)
    monkeypatch.setattr(video, "_SKIP_SECONDS", 1e9)
    decoded = read_video(path, max_frames=8)
    assert sought.seconds == decoded.seconds
    assert len(sought.frames) == 8
    for one, other in zip(sought.frames, decoded.frames, strict=True):
        assert brightness(one) == pytest.approx(brightness(other), abs=1)


def test_large_frames_are_scaled_down(tmp_path):
    (frame,) = read_video(film(tmp_path / "a.mp4", 0.4, size=(1920, 1080))).frames
    height, width, _ = frame.pixels.shape
    assert width * height <= 1_001_000
    assert width / height == pytest.approx(16 / 9, abs=0.01)


@pytest.mark.parametrize(("turned", "shape"), [(0, (48, 64)), (90, (64, 48)), (180, (48, 64)), (-90, (64, 48))])
def test_a_film_held_sideways_is_turned_upright(tmp_path, turned, shape):
    (frame,) = read_video(film(tmp_path / "a.mp4", 0.4, turned=turned)).frames
    assert frame.pixels.shape[:2] == shape


def test_a_film_of_one_frame(tmp_path):
    assert len(read_video(film(tmp_path / "a.mp4", 0.2)).frames) == 1


def text(path):
    path.write_text("not a film\n" * 100)


def cut(path):
    whole = film(path, 3).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def sound_only(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def playlist(path):
    other = film(path.with_name("other.mp4"), 1)
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n")


def script(path):
    film(path.with_name("other.mp4"), 1)
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.touch(), "empty"),
        (text, "not sound or video"),
        (cut, "truncated"),
        (sound_only, "contains no pictures"),
        (playlist, "not sound or video"),
        (script, "not sound or video"),
    ],
    ids=["missing", "empty", "text", "cut", "sound", "m3u8", "ffconcat"],
)
def test_bad_input_is_one_line_naming_the_file(tmp_path, spoil, complaint):
    path = tmp_path / "film.mp4"
    spoil(path)
    with pytest.raises(InputError, match=rf"film\.mp4: .*({complaint})") as caught:
        read_video(path)
    assert "\n" not in str(caught.value)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"a film")
    with pytest.raises(UsageError, match=r"a\.mp4.*pip install 'gemma-cli\[video\]'"):
        read_video(tmp_path / "a.mp4")


def test_importing_costs_nothing():
    code = (
        "import sys, gemma_cli.media.audio, gemma_cli.media.pictures.image, gemma_cli.media.video\n"
        "print(sorted({'numpy', 'PIL', 'soundfile', 'soxr', 'av', 'librosa', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
