"""Live transcription of a microphone."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from threading import current_thread, main_thread

from gemma_cli.common.notices import notice
from gemma_cli.media.input_files import InputFile
from gemma_cli.media.sound.microphone_stream import Incoming
from gemma_cli.speech.pipeline import Answer, spoken_answers
from gemma_cli.speech.transcript_output import Transcript, TranscriptOutput
from gemma_cli.text.clock import clock
from gemma_cli.text.transcript import format_named

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_BARS = "▁▂▃▄▅▆▇█"
_QUIETEST_DB = -60.0


@dataclass(frozen=True)
class Dictation:
    """The output of a live transcription. paths: files to write."""

    out: TranscriptOutput
    paths: dict[str, Path]

    def take(self, incoming: Incoming) -> None:
        """Transcribe until stopped: to stdout immediately, and to the files at the end."""
        transcript, quiet = Transcript(), self.out.output.quiet
        if not quiet:
            notice(f"listening to the {incoming.name}; Ctrl-C stops the recording")
        printed = None if self.out.output.as_json else format_named("txt" if self.paths else self.out.formats[0])()
        answers = _metered(spoken_answers(self.out.task, incoming), incoming, visible=not quiet)
        try:
            self.out.take(transcript, incoming.name, answers, printed)
        finally:
            if self.paths and transcript.segments:
                self.out.save(transcript.segments, self.paths)
        self.out.finish(transcript, incoming.name, incoming.heard_s, f"nobody spoke ({incoming.heard_s:.1f} s)")


def named_by_time() -> InputFile:
    """Return the base name of output files for a recording without a file."""
    name = time.strftime("microphone-%Y-%m-%d-%H%M%S")
    return InputFile(name, PurePath(name))


@contextmanager
def ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """End the recording on Ctrl-C or when the terminal closes, and transcribe the rest; a second Ctrl-C ends
    everything."""

    def press(_number: int, _frame: object) -> None:
        for ending, handler in before.items():
            signal.signal(ending, handler)
        stop()

    if current_thread() is not main_thread():
        yield
        return
    before = {ending: signal.getsignal(ending) for ending in _ENDINGS}
    for ending in before:
        signal.signal(ending, press)
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


def _metered(answers: Iterator[Answer], incoming: Incoming, visible: bool) -> Iterator[Answer]:
    """Yield `answers`; while the next one is waited for a terminal shows how loud it is. A printed line stays."""
    if not (visible and sys.stderr.isatty()):
        yield from answers
        return
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import StatusLine

    console = terminal(sys.stderr)
    waiting = True
    while waiting:
        status = StatusLine(console, lambda _: meter(incoming))
        status.start()
        try:
            answer = next(answers, None)
        finally:
            status.stop()
        waiting = answer is not None
        if answer is not None:
            yield answer


def meter(incoming: Incoming) -> str:
    """Such as "0:01:12 ▅ -24 dB, 3 s behind"."""
    decibels = max(_QUIETEST_DB, 20 * math.log10(max(incoming.level, 1e-9)))
    share = 1 - min(0.0, decibels) / _QUIETEST_DB
    bar = _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
    behind = f", {incoming.behind_s:.0f} s behind" if incoming.behind_s > 2 else ""
    return f"{clock(incoming.heard_s)} {bar} {decibels:.0f} dB{behind}"
