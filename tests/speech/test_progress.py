import io

import pytest

from gemma_cli.core.events import Turn
from gemma_cli.core.messages import SAMPLE_RATE
from gemma_cli.media.audio import Part
from gemma_cli.media.sound.findings import Findings
from gemma_cli.media.sound.reader import Sound
from gemma_cli.speech import progress
from gemma_cli.speech.pipeline import Utterance
from gemma_cli.speech.progress import Progress
from gemma_cli.speech.recording import Recording
from gemma_cli.text.clock import clock


@pytest.fixture
def at(monkeypatch):
    """Set the clock that progress goes by, in seconds."""
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)

    def set_clock(seconds):
        nonlocal now
        now = seconds

    return set_clock


def recording(seconds, start=0.0, name="talk.wav"):
    sound = Sound(name, None, lambda findings: iter(()), seconds * SAMPLE_RATE, Findings())
    return Recording(name, seconds, Part(start), io.BytesIO(), sound)


def heard(start, end, resumed=False):
    return Utterance(start, end, ("",), Turn(), resumed=resumed)


def test_the_time_left_follows_from_the_speed(at):
    told = Progress(1, visible=False)
    with told.of(recording(3600)):
        at(5)
        assert told.line() == "talk.wav: 0:00:00 of 1:00:00"
        told.advance(heard(0, 28))
        told.advance(heard(30, 600))
        at(120)
        assert told.line() == "talk.wav: 0:10:00 of 1:00:00, 5.0x real time, 0:10:00 left"


def test_what_an_earlier_run_did_does_not_count_as_speed(at):
    told = Progress(1, visible=False)
    with told.of(recording(3600)):
        told.advance(heard(0, 1800, resumed=True))
        at(1)
        assert told.line() == "talk.wav: 0:30:00 of 1:00:00"
        told.advance(heard(1800, 2400))
        at(60)
        assert told.line() == "talk.wav: 0:40:00 of 1:00:00, 10.0x real time, 0:02:00 left"


def test_a_clip_is_counted_from_its_beginning(at):
    told = Progress(1, visible=False)
    with told.of(recording(100, start=1000)):
        told.advance(heard(1010, 1050))
        at(10)
        assert told.line() == "talk.wav: 0:00:50 of 0:01:40, 5.0x real time, 0:00:10 left"


def test_the_summary_gives_the_speed(at, capsys):
    told = Progress(1, visible=True)
    with told.of(recording(600)):
        told.advance(heard(0, 300, resumed=True))
        told.advance(heard(300, 590))
        at(60)
    told.finish()
    assert capsys.readouterr().err == "gemma: talk.wav: 0:10:00 transcribed in 0:01:00, 5.0x real time\n"


def test_the_speed_of_a_batch_is_one_of_all_its_recordings(at, capsys):
    """The second file was decoded while the first was waited for: alone it would seem infinitely fast."""
    told = Progress(3, visible=True)
    with told.of(recording(600, name="a.wav"), 1):
        told.advance(heard(0, 600))
        at(100)
        assert told.line() == "a.wav: 0:10:00 of 0:10:00 (file 1 of 3, 6.0x real time for all files)"
    with told.paused():
        at(500)
    with told.of(recording(20, name="b.wav"), 3):
        told.advance(heard(0, 20))
        assert told.line() == "b.wav: 0:00:20 of 0:00:20 (file 3 of 3, 6.2x real time for all files)"
    told.finish()
    assert capsys.readouterr().err == "gemma: 2 recordings: 0:10:20 transcribed in 0:01:40, 6.2x real time\n"


def test_what_is_short_has_no_summary(at, capsys):
    told = Progress(1, visible=True)
    with told.of(recording(20)):
        at(10)
    told.finish()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00:00"), (59.6, "0:01:00"), (36_061, "10:01:01"), (-1, "0:00:00")]
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown
