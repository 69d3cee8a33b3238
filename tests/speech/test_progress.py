import io

import pytest

from gemma_cli.core.events import Turn
from gemma_cli.media.audio import Part
from gemma_cli.speech import progress
from gemma_cli.speech.pipeline import Utterance
from gemma_cli.speech.progress import Progress, clock
from gemma_cli.speech.recording import Recording


def recording(seconds, start=0.0):
    return Recording("talk.wav", seconds, Part(start), io.BytesIO())


def heard(start, end, resumed=False):
    return Utterance(start, end, ("",), Turn(), resumed=resumed)


def test_the_time_left_follows_from_the_speed():
    told = Progress(recording(3600), " (file 2 of 7)")
    assert told.line(5) == "talk.wav: 0:00:00 of 1:00:00 (file 2 of 7)"
    told.advance(heard(0, 28))
    told.advance(heard(30, 600))
    assert told.line(120) == "talk.wav: 0:10:00 of 1:00:00, 5.0x real time, 0:10:00 left (file 2 of 7)"


def test_what_an_earlier_run_did_does_not_count_as_speed():
    told = Progress(recording(3600), "")
    told.advance(heard(0, 1800, resumed=True))
    assert told.line(1) == "talk.wav: 0:30:00 of 1:00:00"
    told.advance(heard(1800, 2400))
    assert told.line(60) == "talk.wav: 0:40:00 of 1:00:00, 10.0x real time, 0:02:00 left"


def test_a_clip_is_counted_from_its_beginning():
    told = Progress(recording(100, start=1000), "")
    told.advance(heard(1010, 1050))
    assert told.line(10) == "talk.wav: 0:00:50 of 0:01:40, 5.0x real time, 0:00:10 left"


def test_the_summary_tells_the_speed(monkeypatch):
    monkeypatch.setattr(progress, "monotonic", iter([0.0, 60.0]).__next__)
    told = Progress(recording(600), "")
    told.advance(heard(0, 300, resumed=True))
    told.advance(heard(300, 590))
    assert told.summary() == "talk.wav: 0:10:00 heard in 0:01:00, 5.0x real time"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00:00"), (59.6, "0:01:00"), (36_061, "10:01:01"), (-1, "0:00:00")]
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown
