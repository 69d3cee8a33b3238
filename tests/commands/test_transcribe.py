import json
import random
import re

import pytest

from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.text.language_of_text import LIKELY, recognised
from tests.speech.words import hear, pause, record, say

CUE = re.compile(r"(\d+):(\d+):([\d,]+) --> (\d+):(\d+):([\d,]+)\n(.*)\n")


def cues(document):
    """(start, end, text) in seconds of an SRT document."""
    rows = CUE.findall(document)
    return [(_seconds(*row[:3]), _seconds(*row[3:6]), row[6]) for row in rows]


def _seconds(hours, minutes, seconds):
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))


def named(words):
    return [f"w{word}" for word in words]


def numbers(count, seed=0):
    return [random.Random(seed + index).randrange(900) for index in range(count)]


def test_what_is_said_is_written_down_with_the_times_it_was_said_at(gemma, tmp_path):
    record(tmp_path / "a.wav", pause(1.0), say([1, 2, 3]), pause(2.0), say([4, 5]), pause(1.0))
    assert gemma("transcribe", "a.wav").out == "w1 w2 w3\nw4 w5\n"
    (first, second) = cues(gemma("transcribe", "a.wav", "--format", "srt").out)
    assert first == (pytest.approx(1.0, abs=0.1), pytest.approx(2.0, abs=0.1), "w1 w2 w3")
    assert second == (pytest.approx(4.05, abs=0.1), pytest.approx(4.7, abs=0.1), "w4 w5")


@pytest.mark.parametrize("seed", range(4))
def test_no_word_is_lost_or_doubled_where_nobody_pauses(gemma, engine, tmp_path, seed):
    """Over a minute and a half without a pause, cut through words that a piece then hears half of."""
    said = numbers(280, seed)
    record(tmp_path / "a.wav", pause(0.3 + seed / 7), say(said), pause(1.0))
    outcome = gemma("transcribe", "a.wav", "--format", "srt")
    found = cues(outcome.out)
    assert len(engine.requests) == len(found) == 4
    assert any("mm" in hear(part.samples) for request in engine.requests for part in request.messages[0].parts[1:])
    assert " ".join(text for _, _, text in found).split() == named(said)
    assert [end for _, end, _ in found[:-1]] == [start for start, _, _ in found[1:]]


def test_silence_is_told_on_stderr_and_no_model_is_asked(gemma, engine, tmp_path):
    record(tmp_path / "a.wav", pause(4.0))
    assert gemma("transcribe", "a.wav") == (outcome := gemma("transcribe", "a.wav", "--format", "txt"))
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "gemma: a.wav: the recording has no speech (4.0 s)\n"
    assert gemma("transcribe", "a.wav", "--format", "vtt").out == "WEBVTT\n\n"
    told = json.loads(gemma("transcribe", "a.wav", "--json").out)
    assert (told["text"], told["segments"], told["duration_s"]) == ("", [], 4.0)
    assert gemma("transcribe", "a.wav", "--quiet").err == ""
    assert engine.requests == []


def test_a_loop_is_decoded_again_by_sampling(gemma, engine, tmp_path):
    record(tmp_path / "a.wav", say([1, 2]), pause(1.0), say([3]), pause(1.0))

    def looping(request, samples):
        return "thank you " * 20 if not request.sampling.temperature and "w1" in hear(samples) else hear(samples)

    engine.reply = looping
    outcome = gemma("transcribe", "a.wav")
    assert outcome.out == "w1 w2\nw3\n"
    assert [request.sampling.temperature for request in engine.requests] == [0.0, 0.6, 0.0]
    assert gemma("transcribe", "a.wav") == outcome


def test_a_loop_that_stays_is_said_once(gemma, engine, tmp_path):
    record(tmp_path / "a.wav", say([1, 2]), pause(1.0))
    engine.reply = lambda request, samples: hear(samples) + " thank you" * 20
    assert gemma("transcribe", "a.wav").out == "w1 w2 thank you\n"
    assert len(engine.requests) == 2
    engine.reply = lambda request, samples: " ".join(map(str, range(1000)))
    endless = gemma("transcribe", "a.wav")
    assert endless.code == 0
    assert "a.wav: the transcript repeats the same words from 0 s on; check the transcript" in endless.err


def test_one_text_again_and_again_is_told(gemma, engine, tmp_path):
    record(tmp_path / "a.wav", *[say([1]), pause(1.0)] * 9)
    assert "8 segments before 10 s have the same text" in gemma("transcribe", "a.wav").err


def test_a_clip_keeps_the_times_of_the_recording(gemma, tmp_path):
    record(tmp_path / "a.wav", *[part for word in range(30) for part in (say([word]), pause(1.65))])
    for clip in ("20-25.9", "0:20-0:25.9", "00:00:20-25.9"):
        found = cues(gemma("transcribe", "a.wav", "--clip", clip, "--format", "srt").out)
        assert [text for _, _, text in found] == ["w10", "w11", "w12"]
        assert [round(start) for start, _, _ in found] == [20, 22, 24]


@pytest.mark.parametrize("clip", ["5", "9-5", "a-b", "1:75-2:00", "-3-4", "5-5"])
def test_a_clip_that_is_none_is_refused(gemma, tmp_path, clip):
    gemma("transcribe", "a.wav", f"--clip={clip}").refuses("--clip", clip)


def test_a_segment_has_its_language_in_json(gemma, tmp_path):
    """The requested one; else that of its own text, which other segments do not change."""
    record(tmp_path / "a.wav", pause(1.0), say([1, 2, 3]), pause(2.0), say([4, 5]), pause(1.0))
    for command in (["--json"], ["--format", "json"]):
        segments = json.loads(gemma("transcribe", "a.wav", *command, "--language", "de").out)["segments"]
        assert [segment["language"] for segment in segments] == ["German", "German"]
        segments = json.loads(gemma("transcribe", "a.wav", *command).out)["segments"]
        texts = ("w1 w2 w3", "w4 w5")
        assert [segment["language"] for segment in segments] == [recognised(text, LIKELY) for text in texts]


def test_context_and_language_are_in_the_prompt(gemma, engine, tmp_path):
    record(tmp_path / "a.wav", say([1]), pause(1.0))
    gemma("transcribe", "a.wav", "--language", "auto", "--context", "Musco,\nSuresh")
    gemma("transcribe", "a.wav", "--language", "de")
    first, second = (request.messages[0].text for request in engine.requests)
    assert "original language" in first
    assert first.endswith("spell them so: Musco, Suresh")
    assert "in German into German text" in second


def test_many_files_and_formats_go_into_a_folder(gemma, tmp_path):
    record(tmp_path / "talks" / "one.wav", say([1]), pause(1.0))
    record(tmp_path / "talks" / "deep" / "one.flac.wav", say([2]), pause(1.0))
    (tmp_path / "talks" / "notes.txt").write_text("no sound\n")
    (tmp_path / "talks" / "bad.wav").write_bytes(b"RIFF")
    outcome = gemma("transcribe", "talks", "-o", "out", "-f", "txt", "-f", "srt")
    written = {str(path.relative_to(tmp_path / "out")): path.read_text() for path in (tmp_path / "out").rglob("*.*")}
    assert (outcome.code, outcome.out) == (1, "")
    assert written.keys() == {"one.txt", "one.srt", "deep/one.flac.txt", "deep/one.flac.srt"}
    assert written["deep/one.flac.txt"] == "w2\n"
    assert cues(written["one.srt"])[0][2] == "w1"
    assert outcome.err.splitlines()[-1].startswith("gemma: 1 of 3 files failed: talks/bad.wav: ")


def test_files_are_overwritten_only_when_asked(gemma, engine, tmp_path):
    for name in ("a", "b"):
        record(tmp_path / f"{name}.wav", say([1]), pause(1.0))
    (tmp_path / "a.txt").write_text("mine\n")
    gemma("transcribe", "*.wav", "-o", ".").refuses(
        "a.txt: the output file already exists", "--skip-existing", "--overwrite"
    )
    assert engine.requests == []
    assert gemma("transcribe", "*.wav", "-o", ".", "--skip-existing").code == 0
    assert (len(engine.requests), (tmp_path / "a.txt").read_text()) == (1, "mine\n")
    assert (tmp_path / "b.txt").read_text() == "w1\n"
    gemma("transcribe", "a.wav", "-o", ".", "--overwrite")
    assert (tmp_path / "a.txt").read_text() == "w1\n"


def test_an_interrupted_batch_tells_how_to_go_on(gemma, engine, tmp_path):
    for word in (1, 2):
        record(tmp_path / f"{word}.wav", say([word]), pause(1.0))

    def interrupted(request, samples):
        if hear(samples) == "w2":
            raise KeyboardInterrupt
        return hear(samples)

    engine.reply = interrupted
    outcome = gemma("transcribe", "1.wav", "2.wav", "-o", "out")
    assert outcome.code == 130
    assert outcome.err.endswith("gemma: 1 file is done; to continue, run the same command with --skip-existing\n")
    engine.reply = lambda request, samples: hear(samples)
    assert gemma("transcribe", "1.wav", "2.wav", "-o", "out", "--skip-existing").code == 0
    assert (tmp_path / "out" / "2.txt").read_text() == "w2\n"


def test_names_of_files_follow_the_template(gemma, tmp_path):
    record(tmp_path / "x" / "a.wav", say([1]), pause(1.0))
    record(tmp_path / "y" / "a.wav", say([2]), pause(1.0))
    gemma("transcribe", "x/a.wav", "y/a.wav", "-o", "out").refuses("x/a.wav and y/a.wav", "out/a.txt")
    gemma("transcribe", "x", "--output-template", "{date}.txt").refuses("{date}", "{stem}")
    gemma("transcribe", "x", "--output-template", "{stem").refuses("--output-template")
    gemma("transcribe", "x/a.wav", "--output-template", "{name}.said.{format}", "-f", "vtt")
    assert (tmp_path / "a.wav.said.vtt").read_text().startswith("WEBVTT\n")


def test_a_name_too_long_for_a_file_is_told(gemma, tmp_path):
    record(tmp_path / "a.wav", say([1]), pause(1.0))
    gemma("transcribe", "a.wav", "--output-template", "a" * 300).refuses("aaa", "cannot be written", code=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("a.wav -f srt -f txt", ["srt and txt", "-o DIR"]),
        ("a.wav b.wav -f srt", ["srt", "-o DIR", "--json"]),
        ("a.wav --json -f srt", ["--json", "-o DIR"]),
        ("a.wav --max-line-count 2", ["--max-line-width"]),
        ("a.wav --skip-existing", ["-o DIR"]),
        ("none/*.wav", ["none/*.wav", "no file matches"]),
        ("empty", ["empty", "no sound files"]),
        ("a.wav --channel 2", ["a.wav", "1 channel", "--channel 2"]),
        ("a.wav --clip 100-200", ["a.wav", "--clip"]),
    ],
)
def test_what_does_not_fit_together_is_refused(gemma, engine, tmp_path, arguments, words):
    record(tmp_path / "a.wav", say([1]), pause(1.0))
    (tmp_path / "empty").mkdir()
    gemma("transcribe", *arguments.split()).refuses(*words)
    assert engine.requests == []


def test_lines_of_subtitles_have_a_width(gemma, tmp_path):
    record(tmp_path / "a.wav", say(range(100, 108)), pause(1.0))
    outcome = gemma("transcribe", "a.wav", "-f", "srt", "--max-line-width", "9", "--max-line-count", "2")
    assert [block.split("\n")[2:] for block in outcome.out.strip().split("\n\n")] == [
        ["w100 w101", "w102 w103"],
        ["w104 w105", "w106 w107"],
    ]


def test_a_long_recording_tells_its_speed_at_the_end(gemma, tmp_path):
    record(tmp_path / "a.wav", *[say(range(10)), pause(5.0)] * 5)
    assert re.search(r"a\.wav: 0:00:42 transcribed in 0:00:\d\d, [\d.]+x real time\n", gemma("transcribe", "a.wav").err)
    assert gemma("transcribe", "a.wav", "-q").err == ""


def test_memory_does_not_grow_with_the_recording(gemma, engine, tmp_path, monkeypatch):
    """All that is held of the sound is in the pieces; none is kept by the command."""
    import tracemalloc

    peaks = []
    monkeypatch.setattr(engine, "requests", Forgetful())
    for minutes in (1, 8):
        record(tmp_path / f"{minutes}.wav", *[say(range(20)), pause(3.0)] * 6 * minutes)
        tracemalloc.start()
        gemma("transcribe", f"{minutes}.wav")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 8 * 60 * SAMPLE_RATE * 4 / 2


class Forgetful(list):
    def append(self, request):
        """Nothing is kept."""
