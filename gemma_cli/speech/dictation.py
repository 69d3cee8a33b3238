"""Writing down what is said into a microphone, as it is said."""

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

from gemma_cli.common.notices import figures, notice
from gemma_cli.common.options import EngineOptions, OutputOptions
from gemma_cli.core.events import Turn
from gemma_cli.media.input_files import InputFile
from gemma_cli.media.microphone_stream import Incoming
from gemma_cli.speech.output import TranscriptOptions
from gemma_cli.speech.pipeline import Task, hear, together
from gemma_cli.speech.progress import clock
from gemma_cli.speech.segments import segments_of
from gemma_cli.store.journal import Journal
from gemma_cli.text import transcript
from gemma_cli.text.language_of_text import recognised
from gemma_cli.text.transcript import Segment
from gemma_cli.views.sanitize import safe

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_BARS = "▁▂▃▄▅▆▇█"
_QUIETEST_DB = -60.0


@dataclass(frozen=True)
class Dictation:
    """What is wanted of what is said. language: its name; None: the model hears it. paths: files to write."""

    task: Task
    language: str | None
    engine: EngineOptions
    output: OutputOptions
    written: TranscriptOptions
    form: str
    paths: dict[str, Path]

    def take(self, incoming: Incoming) -> None:
        """Write down what comes until it is stopped: to stdout at once, and into the files at the end."""
        turns: list[Turn] = []
        kept: list[Segment] = []
        if not self.output.quiet:
            notice(f"listening to the {incoming.name}; Ctrl-C ends it")
        heard = _noted(segments_of(hear(self.task, incoming, Journal()), turns), kept)
        try:
            for piece in _metered(self._pieces(heard), incoming, visible=not self.output.quiet):
                sys.stdout.write(safe(piece))
                sys.stdout.flush()
        finally:
            if self.paths and kept:
                self.written.write(kept, self.paths)
                notice(f"wrote {', '.join(map(str, self.paths.values()))}")
        if self.output.as_json:
            self._print_object(kept, turns, incoming)
        if not turns and not self.output.quiet:
            notice(f"nobody spoke ({incoming.heard_s:.1f} s)")
        if self.output.stats:
            notice(figures(together(turns)))

    def _pieces(self, heard: Iterator[Segment]) -> Iterator[str]:
        """What to print of each segment: with --json nothing before the end."""
        if self.output.as_json:
            return ("" for _ in heard)
        return transcript.writer(self.form)(self.written.laid_out(heard, self.form))

    def _print_object(self, kept: list[Segment], turns: list[Turn], incoming: Incoming) -> None:
        from gemma_cli.views import json

        fields = json.transcript_object(
            turns,
            self.task.engine().info,
            self.engine.draft_tokens,
            file=incoming.name,
            language=self.language or recognised(" ".join(segment.text for segment in kept)),
            duration_s=incoming.heard_s,
            segments=kept,
        )
        json.write(fields, sys.stdout)


def named_by_time() -> InputFile:
    """What the files of a recording without a file are named after."""
    name = time.strftime("microphone-%Y-%m-%d-%H%M%S")
    return InputFile(name, PurePath(name))


@contextmanager
def ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, or closing the terminal, ends the recording, and what was heard is still written down. Twice ends all."""

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


def _noted(segments: Iterator[Segment], kept: list[Segment]) -> Iterator[Segment]:
    for segment in segments:
        kept.append(segment)
        yield segment


def _metered(pieces: Iterator[str], incoming: Incoming, visible: bool) -> Iterator[str]:
    """The same; while the next one is waited for a terminal shows how loud it is. A line that is printed stays."""
    if not (visible and sys.stderr.isatty()):
        yield from pieces
        return
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import StatusLine

    console = terminal(sys.stderr)
    waiting = True
    while waiting:
        status = StatusLine(console, lambda _: meter(incoming))
        status.start()
        try:
            piece = next(pieces, None)
        finally:
            status.stop()
        waiting = piece is not None
        if piece is not None:
            yield piece


def meter(incoming: Incoming) -> str:
    """Such as "0:01:12 ▅ -24 dB, 3 s behind"."""
    decibels = max(_QUIETEST_DB, 20 * math.log10(max(incoming.level, 1e-9)))
    share = 1 - min(0.0, decibels) / _QUIETEST_DB
    bar = _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
    behind = f", {incoming.behind_s:.0f} s behind" if incoming.behind_s > 2 else ""
    return f"{clock(incoming.heard_s)} {bar} {decibels:.0f} dB{behind}"
