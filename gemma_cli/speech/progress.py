"""How far a long recording is, on stderr: while it is heard, and one line when it is done."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from gemma_cli.common.notices import notice
from gemma_cli.core.messages import MAX_AUDIO_S
from gemma_cli.speech.pipeline import Utterance
from gemma_cli.speech.recording import Recording

DELAY = 1.0
"""Seconds before anything is shown."""


class Progress:
    """One recording's. The speed is that of what is decoded now, not of what an earlier run had done."""

    def __init__(self, recording: Recording, place: str) -> None:
        self._recording, self._place = recording, place
        self._reached = recording.part.start
        self._skipped = 0.0
        self._began = monotonic()

    def advance(self, heard: Utterance) -> None:
        if heard.resumed:
            self._skipped += heard.end - self._reached
        self._reached = heard.end

    def line(self, elapsed: float) -> str:
        """Such as "talk.wav: 0:12:30 of 1:02:00, 4.2x real time, 0:11:47 left (file 2 of 7)"."""
        done = self._reached - self._recording.part.start
        total = self._recording.duration_s
        said = f"{self._recording.name}: {clock(done)} of {clock(total)}"
        speed = (done - self._skipped) / elapsed if elapsed else 0.0
        if speed:
            said += f", {speed:.1f}x real time, {clock((total - done) / speed)} left"
        return said + self._place

    def summary(self) -> str:
        """Such as "talk.wav: 1:02:00 heard in 0:14:45, 4.2x real time"."""
        elapsed = monotonic() - self._began
        decoded = self._recording.duration_s - self._skipped
        said = f"{self._recording.name}: {clock(self._recording.duration_s)} heard in {clock(math.ceil(elapsed))}"
        return said + (f", {decoded / elapsed:.1f}x real time" if elapsed and decoded > 0 else "")


def clock(seconds: float) -> str:
    """H:MM:SS."""
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


@contextmanager
def progress(recording: Recording, place: str, visible: bool) -> Iterator[Progress]:
    """Shows the progress of a recording too long to be done at once, on a terminal as it goes."""
    told = Progress(recording, place)
    if not visible or recording.duration_s <= MAX_AUDIO_S:
        yield told
        return
    with _drawn(told.line):
        yield told
    notice(told.summary())


@contextmanager
def _drawn(line: Callable[[float], str]) -> Iterator[None]:
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import StatusLine

    status = StatusLine(terminal(sys.stderr), lambda elapsed: line(elapsed) if elapsed > DELAY else "")
    status.start()
    try:
        yield
    finally:
        status.stop()
