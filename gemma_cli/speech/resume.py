"""The journal of a long recording: saved if the command is interrupted, removed when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from gemma_cli.common.options import OutputOptions
from gemma_cli.common.resuming import resumable
from gemma_cli.core.messages import MAX_AUDIO_S
from gemma_cli.media.audio import WHOLE, Part
from gemma_cli.speech.pipeline import Task
from gemma_cli.speech.prefetch import Opening
from gemma_cli.speech.recording import Recording, survey
from gemma_cli.store.journal import Journal
from gemma_cli.store.models import calibrations


@contextmanager
def journal(task: Task, recording: Recording, output: OutputOptions) -> Iterator[Journal]:
    """Open the segments that an earlier run of the same command finished. A recording of one piece has nothing to go on
    from."""
    if recording.duration_s <= MAX_AUDIO_S:
        yield Journal()
        return
    with resumable(_key(task, recording), recording.name, "segments", output.quiet) as kept:
        yield kept


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
    calibration = calibrations.find(info.fingerprint) if task.word_times else None
    return {
        "recording": recording.digest(),
        "part": asdict(recording.part),
        "instruction": task.instruction,
        "word_times": task.word_times,
        "calibration": asdict(calibration) if calibration else None,
        "model": info.model,
        "device": info.device,
        "dtype": info.dtype,
        "quantize": info.quantize,
        "checkpoint": info.fingerprint,
    }
