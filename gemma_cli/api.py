"""The public Python interface: import these names from `gemma_cli`. docs/api.md describes them.

They are stable: fields and parameters with defaults are added, nothing is renamed or removed in a minor version. All
other modules are internal.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from gemma_cli.common.attachments import attachment
from gemma_cli.common.environment import prepare_libraries
from gemma_cli.core.engine import Dtype, Engine, EngineInfo, EngineSpec, Quantization, stream_many
from gemma_cli.core.errors import GemmaError, InputError, ModelError, OutOfMemory, UsageError
from gemma_cli.core.events import Delta, Done, Event, Progress, Round, Speculation, Timings, Turn, Usage, collect
from gemma_cli.core.messages import (
    GREEDY,
    Audio,
    Drafting,
    Image,
    Message,
    Part,
    Request,
    Sampling,
    Text,
    Video,
    ask,
)
from gemma_cli.engines import open_engine as _open
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import Task, Utterance, Utterances
from gemma_cli.speech.prefetch import Prefetcher
from gemma_cli.speech.recording import Recording, survey
from gemma_cli.store.journal import Journal
from gemma_cli.text.languages import language_or_auto
from gemma_cli.text.transcript import Segment

__all__ = [
    "GREEDY",
    "Audio",
    "Delta",
    "Done",
    "Drafting",
    "Engine",
    "EngineInfo",
    "Event",
    "GemmaError",
    "Image",
    "InputError",
    "Message",
    "ModelError",
    "OutOfMemory",
    "Progress",
    "Request",
    "Round",
    "Sampling",
    "Segment",
    "Speculation",
    "Text",
    "Timings",
    "Turn",
    "Usage",
    "UsageError",
    "Video",
    "ask",
    "attach",
    "collect",
    "open_engine",
    "stream_many",
    "transcribe",
]


def open_engine(
    model: str | None = None,
    *,
    url: str | None = None,
    assistant: str | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    quantize: Quantization | None = None,
    concurrency: int | None = None,
) -> Engine:
    """Load a model, or connect to a server; parameters mean what the options of the same names mean.

    model: "pocket", "e4b", a hub id in the local cache, a folder; None chooses as the command line does. url: of a
    server to ask instead. assistant: the drafter, "off" for none. Nothing is downloaded. Raises UsageError for what
    does not exist, and ModelError for what cannot be run.
    """
    prepare_libraries()
    spec = EngineSpec(model, assistant, device=device, dtype=dtype, quantize=quantize, url=url, concurrency=concurrency)
    return _open(spec)


def attach(name: str | Path) -> Part:
    """Read a picture, sound of at most 30 s, video, text or PDF, recognised by its content, as a part of a message.

    name: a path, an http(s) address, "-" for standard input, "sample:NAME". Raises InputError.
    """
    return attachment(str(name))


def transcribe(
    engine: Engine,
    name: str | Path,
    *,
    language: str | None = None,
    context: str | None = None,
    drafting: Drafting | None = None,
) -> Generator[Segment, None, None]:
    """Yield what is said in a recording of any length, each segment when it is certain.

    name: as for `attach`. language: by name or code; None lets the model recognise it. context: names and words that
    may occur, as they are spelled. drafting: None chooses the draft length adaptively; the text does not depend on it.
    Raises InputError when it begins, and after the last segment for a recording that is damaged in part.
    """
    instruction = instructions.transcription(language_or_auto(language), context)
    task = Task(lambda: engine, instruction, drafting or Drafting(adaptive=True))

    @contextmanager
    def opening(_: bool) -> Iterator[tuple[Recording, Journal]]:
        with survey(str(name), quiet=True) as recording:
            yield recording, Journal()

    count = 0
    with Prefetcher(task, [opening]) as ahead, ahead.following() as (recording, answers):
        utterances = Utterances(task, recording.name)
        for answer in answers:
            for utterance in utterances.feed(answer):
                yield from _segments(utterance, count)
                count += bool(utterance.texts[0])
        for utterance in utterances.end():
            yield from _segments(utterance, count)
    recording.check_whole()


def _segments(utterance: Utterance, number: int) -> Iterator[Segment]:
    """Yield an utterance as a segment, unless it has no words."""
    if text := utterance.texts[0]:
        yield Segment(number, round(utterance.start, 3), round(utterance.end, 3), text)
