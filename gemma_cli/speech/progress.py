"""Progress of a command's recordings on stderr, and a summary at the end."""

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
from gemma_cli.text.clock import clock

DELAY = 1.0
"""Seconds before anything is shown."""


class Progress:
    """Progress of a command, of which `files` inputs may be recordings.

    Pieces of several recordings are decoded together, so a speed is one of all of them: seconds of sound for each
    second since the command began to hear, without what an earlier run had decoded.
    """

    def __init__(self, files: int, visible: bool) -> None:
        self._files, self._visible = files, visible
        self._began: float | None = None
        self._recording: Recording | None = None
        self._number = self._done = 0
        self._reached = self._heard = self._skipped = 0.0

    @contextmanager
    def of(self, recording: Recording, number: int = 1) -> Iterator[None]:
        """Show, on a terminal, the progress of one recording while the block lasts; number: its place among the files.

        One that is alone and short shows nothing.
        """
        self._recording, self._number, self._reached = recording, number, recording.part.start
        self._began = monotonic() if self._began is None else self._began
        if self._visible and (self._files > 1 or recording.duration_s > MAX_AUDIO_S):
            with _drawn(self.line):
                yield
        else:
            yield
        self._done += 1
        self._heard += recording.duration_s

    def advance(self, heard: Utterance) -> None:
        """Count a segment of the current recording as done."""
        if heard.resumed:
            self._skipped += heard.end - self._reached
        self._reached = heard.end

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block, which is not spent on recordings."""
        before = monotonic()
        yield
        if self._began is not None:
            self._began += monotonic() - before

    def line(self) -> str:
        """Such as "talk.wav: 0:12:30 of 1:02:00, 4.2x real time, 0:11:47 left", in a batch with "file 2 of 7"."""
        if not self._recording or self._elapsed() < DELAY:
            return ""
        total = self._recording.duration_s
        reached = self._reached - self._recording.part.start
        line = f"{self._recording.name}: {clock(reached)} of {clock(total)}"
        speed = self._speed(self._heard + reached)
        if self._files > 1:
            overall = f", {speed:.1f}x real time for all files" if speed else ""
            return f"{line} (file {self._number} of {self._files}{overall})"
        return f"{line}, {speed:.1f}x real time, {clock((total - reached) / speed)} left" if speed else line

    def summary(self) -> str:
        """Such as "talk.wav: 1:02:00 heard in 0:14:45, 4.2x real time", in a batch with "7 recordings"."""
        elapsed, speed = self._elapsed(), self._speed(self._heard)
        name = self._recording.name if self._recording and self._files == 1 else f"{self._done} recordings"
        line = f"{name}: {clock(self._heard)} transcribed in {clock(math.ceil(elapsed))}"
        return line + (f", {speed:.1f}x real time" if speed else "")

    def finish(self) -> None:
        """Print the summary, unless everything was short."""
        if self._visible and self._heard > MAX_AUDIO_S:
            notice(self.summary())

    def _elapsed(self) -> float:
        return 0.0 if self._began is None else monotonic() - self._began

    def _speed(self, heard: float) -> float:
        elapsed = self._elapsed()
        return max(0.0, heard - self._skipped) / elapsed if elapsed else 0.0


@contextmanager
def _drawn(line: Callable[[], str]) -> Iterator[None]:
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import StatusLine

    status = StatusLine(terminal(sys.stderr), lambda _: line())
    status.start()
    try:
        yield
    finally:
        status.stop()
