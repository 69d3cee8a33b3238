"""The journal of a long recording: saved if the command is interrupted, removed when it is done."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from gemma_cli.common.notices import notice
from gemma_cli.common.options import OutputOptions
from gemma_cli.core.messages import MAX_AUDIO_S
from gemma_cli.media.audio import WHOLE, Part
from gemma_cli.speech.pipeline import Task
from gemma_cli.speech.prefetch import Opening
from gemma_cli.speech.recording import Recording, survey
from gemma_cli.store.journal import Journal


@contextmanager
def journal(task: Task, recording: Recording, output: OutputOptions) -> Iterator[Journal]:
    """Open the segments that an earlier run of the same command finished. A recording of one piece has nothing to go on
    from."""
    if recording.duration_s <= MAX_AUDIO_S:
        yield Journal()
        return
    kept = Journal.open(_key(task, recording))
    if kept.resumed and not output.quiet:
        notice(f"{recording.name}: resuming an interrupted run; {kept.resumed} segments are done")
    try:
        yield kept
    except KeyboardInterrupt:
        if kept.lasts and not output.quiet:
            notice(f"{recording.name}: interrupted; the same command resumes it")
        raise
    else:
        kept.finish()
    finally:
        kept.close()
        if kept.trouble and not output.quiet:
            _warn(kept.trouble)


@functools.cache
def _warn(trouble: str) -> None:
    """Warn once, however many recordings there are."""
    notice(f"{trouble}; an interrupted run cannot be resumed")


def kept(task: Task, path: str, output: OutputOptions, part: Part = WHOLE) -> Opening:
    """Return a function that opens that part of a recording with its journal."""

    @contextmanager
    def opening(quiet: bool) -> Iterator[tuple[Recording, Journal]]:
        with (
            survey(path, part, output.quiet or quiet) as recording,
            journal(task, recording, output) as finished,
        ):
            yield recording, finished

    return opening


def _key(task: Task, recording: Recording) -> dict[str, object]:
    """All that a reply depends on beside the sound of its piece, and the recording itself."""
    info = task.engine().info
    return {
        "recording": recording.digest(),
        "part": asdict(recording.part),
        "instruction": task.instruction,
        "word_times": task.word_times,
        "model": info.model,
        "device": info.device,
        "dtype": info.dtype,
        "quantize": info.quantize,
        "checkpoint": info.fingerprint,
    }
