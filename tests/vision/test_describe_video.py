import json
import random

import pytest

from gemma_cli.media import sound_track
from gemma_cli.vision import watching
from tests.vision.drawn_videos import draw_video
from training.data import scenes

pytest.importorskip("av")


@pytest.fixture(scope="module")
def shots():
    rng = random.Random(4)
    return [scenes.sample_scene(rng, 1) for _ in range(4)]


@pytest.fixture
def video(shots, tmp_path):
    return draw_video(tmp_path / "video.mp4", shots)


def test_each_second_is_described_in_order_with_its_time(gemma, engine, video, shots):
    asked = ("describe-video", "video.mp4", "--chapters", "--max-frames", "1", "--prompt", "Describe this image.")
    told = json.loads(gemma(*asked, "--format", "json").out)
    found = [(part["start"], part["end"], part["description"]) for part in told["chapters"]]
    assert found == [(second, second + 1, shot.caption) for second, shot in enumerate(shots)]
    assert (told["duration_s"], told["frames"], told["sound"]) == (4.0, 4, False)
    text = gemma(*asked).out
    assert [text.index(f"0:00:0{second} ") for second in range(4)] == sorted(
        text.index(f"0:00:0{s} ") for s in range(4)
    )
    cues = gemma(*asked, "--format", "vtt").out
    assert cues.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n")
    assert cues.count("-->") == 4


def test_a_video_in_one_piece_is_asked_about_once(gemma, engine, video):
    told = json.loads(gemma("describe-video", "video.mp4", "--json", "--clip", "1-3").out)
    (request,) = engine.asked
    shown, text = request.messages[0].parts
    assert shown.seconds == pytest.approx((1, 2))
    assert text.text == "Describe this video."
    assert (told["frames"], told["chapters"], told["duration_s"]) == (2, None, 3.0)
    assert told["soft_tokens"] == 2 * 63


def test_the_sound_goes_along_after_the_question_and_its_cut_is_said(gemma, engine, shots, tmp_path, monkeypatch):
    for module in (sound_track, watching):
        monkeypatch.setattr(module, "MAX_AUDIO_S", 2)
    draw_video(tmp_path / "loud.mkv", shots[:3], sound=True)
    asked = ("describe-video", "loud.mkv", "--max-frames", "1", "--max-tokens", "4")
    assert (
        "loud.mkv: the model receives only the first 2 s of sound; to leave out the sound, give --no-sound"
        in gemma(*asked).err
    )
    _, _, heard = engine.asked.pop().messages[0].parts
    assert len(heard.samples) == 2 * 16_000
    gemma(*asked, "--clip", "2-9")
    assert len(engine.asked.pop().messages[0].parts[2].samples) == pytest.approx(16_000, abs=1000)
    done = gemma(*asked, "--no-sound", "-q")
    assert (done.err, len(engine.asked.pop().messages[0].parts)) == ("", 2)


def test_parts_have_their_own_sound_titles_and_a_summary(gemma, engine, shots, tmp_path):
    draw_video(tmp_path / "loud.mkv", shots[:2], seconds=2, sound=True)
    told = json.loads(
        gemma("describe-video", "loud.mkv", "--chapters", "--max-frames", "2", "--summary", "--format", "jsonl").out
    )
    described, titled, again, _, summed = engine.asked
    lengths = [len(one.messages[0].parts[2].samples) for one in (described, again)]
    assert lengths == pytest.approx([32_000, 32_000], abs=1000)
    assert titled.messages[:1] == described.messages
    assert titled.messages[2].text == "Give that a title of at most six words."
    assert told["chapters"][0]["description"] in summed.messages[0].text
    assert told["sound"]


def test_a_stopped_video_goes_on_after_the_parts_that_are_done(gemma, engine, video, monkeypatch):
    asked = ("describe-video", "video.mp4", "--chapters", "--max-frames", "1", "--format", "json")
    whole = gemma(*asked).out
    everything = len(engine.asked)
    engine.asked.clear()
    stream = engine.stream

    def stopping(request):
        if len(engine.asked) == 4:
            raise KeyboardInterrupt
        yield from stream(request)

    engine.stream = stopping
    assert gemma(*asked).code == 130
    engine.asked.clear()
    engine.stream = stream
    done = gemma(*asked)
    assert done.out == whole
    assert "continuing an interrupted run, of which 4 answers are done" in done.err
    assert len(engine.asked) == everything - 4


def test_videos_of_a_folder_into_files_and_the_bad_ones_named(gemma, video, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(video.read_bytes()[:500])
    done = gemma("describe-video", ".", "-o", "out", "-f", "txt", "-f", "json", "--max-tokens", "4")
    assert done.code == 1
    assert "1 of 2 files failed: bad.mp4: not sound or video" in done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["video.json", "video.txt"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "vtt"], ["--format vtt", "--chapters"]),
        (["--summary"], ["--summary works only with parts"]),
        (["--clip", "9-12"], ["video.mp4: the video ends before 9 s"]),
        (["--clip", "soon"], ["--clip soon"]),
        (["--format", "txt", "--format", "json"], ["only one format can be printed to stdout"]),
        (["--format", "csv"], ["--format csv", "vtt"]),
        (["--fps", "0"], ["--fps"]),
    ],
)
def test_what_does_not_fit_together_is_refused(gemma, video, options, words):
    gemma("describe-video", "video.mp4", *options).refuses(*words)
