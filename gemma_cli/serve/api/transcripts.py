"""Transcripts and translations of recordings of any length, by the same pipeline as `gemma transcribe`."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from threading import BoundedSemaphore, Thread
from typing import Any, BinaryIO, Literal

from pydantic import ConfigDict, Field
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from gemma_cli.common.receipts import Receipt
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.events import Turn, together
from gemma_cli.core.messages import GREEDY, Request
from gemma_cli.media import audio
from gemma_cli.media.audio import WHOLE
from gemma_cli.media.spool import new_spool, spooling
from gemma_cli.serve.answering import COMMENT, PING_S, EventStream, encoded, sse, while_present
from gemma_cli.serve.api.chat_request import Defaults
from gemma_cli.serve.api.errors import ApiError, ClientGone, api_error
from gemma_cli.serve.api.fields import Fields, validated
from gemma_cli.serve.blocking import BlockingEngine
from gemma_cli.serve.worker import Worker
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import Task, Utterance, Utterances, spoken_answers
from gemma_cli.speech.recording import Recording
from gemma_cli.speech.translation import parse
from gemma_cli.text.languages import language_or_auto
from gemma_cli.text.transcript import Segment, document, format_named

NAME = "file"
"""The name of a recording in messages: the form field that contains it."""

MEDIA_TYPES = {"text": "text/plain", "srt": "text/plain", "vtt": "text/vtt"}

WRITERS = {"text": "txt", "srt": "srt", "vtt": "vtt"}

_recordings = BoundedSemaphore(16)
"""Each recording takes a thread and a temporary file."""


class AudioFields(Fields):
    """The fields of a form, which are all text."""

    model_config = ConfigDict(strict=False, extra="forbid", allow_inf_nan=False)

    model: str | None = None
    language: str | None = None
    prompt: str | None = Field(None, max_length=4000)
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"
    temperature: Literal["0", "0.0", ""] | None = None
    stream: bool = False
    chunking_strategy: Literal["auto"] | None = None
    granularities: list[Literal["segment"]] = Field(default_factory=list, alias="timestamp_granularities[]")


@dataclass
class Job:
    """A recording and its options. target: the language to translate into; None for a transcript."""

    upload: BinaryIO
    fields: AudioFields
    task: Task
    engine: BlockingEngine
    target: str | None
    source: str | None
    duration_s: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def run(self, tell: Callable[[Segment | Exception | None], None]) -> None:
        """Transcribe the recording. Deliver each segment when it is ready, and at the end None or the error."""
        try:
            with new_spool() as file:  # decoders need a descriptor
                with spooling():
                    shutil.copyfileobj(self.upload, file)
                self._hear(file, tell)
            tell(None)
        except GemmaError as error:
            tell(api_error(error, "file"))
        except (ApiError, ClientGone) as error:
            tell(error)
        except Exception as error:
            tell(ApiError(500, f"internal error: {type(error).__name__}", "server_error"))

    def _hear(self, file: BinaryIO, tell: Callable[[Segment], None]) -> None:
        sound = audio.survey(file, NAME)
        if sound.findings.damage:
            raise InputError(f"{NAME}: {sound.findings.summary()}; copy it again")
        self.duration_s = audio.duration(sound)
        utterances = Utterances(self.task, NAME)
        for answer in spoken_answers(self.task, Recording(NAME, self.duration_s, WHOLE, file, sound)):
            self._keep(utterances.feed(answer), tell)
        self._keep(utterances.end(), tell)

    def _keep(self, utterances: list[Utterance], tell: Callable[[Segment], None]) -> None:
        for utterance in utterances:
            self.turns.append(utterance.turn)
            if text := utterance.texts[-1]:
                segment = Segment(len(self.segments), round(utterance.start, 3), round(utterance.end, 3), text)
                self.segments.append(segment)
                tell(segment)

    @property
    def text(self) -> str:
        """Return the entire text in one line."""
        return " ".join(segment.text for segment in self.segments)


async def respond(
    http: HttpRequest,
    worker: Worker,
    receipt: Receipt,
    defaults: Defaults,
    check_model: Callable[[str | None], None],
    target: str | None = None,
) -> Response:
    """Answer a request for a transcript, or with a target for a translation. Raises ApiError."""
    if not http.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(
            415, "the request is not a form: send the recording as multipart/form-data, in a field with the name file"
        )
    worker.admit()
    form = await http.form(max_files=1, max_fields=32)
    try:
        file, fields = _taken(form)
        check_model(fields.model)
        if "audio" not in receipt.info.modalities:
            raise ApiError(400, f"{receipt.model} takes no audio", param="file")
        job = _job(file, fields, worker, receipt, defaults, target)
        return await _heard(http, job, receipt, form)
    except BaseException:
        await form.close()
        raise


def _taken(form: FormData) -> tuple[UploadFile, AudioFields]:
    """The file and the other fields of a form."""
    values: dict[str, Any] = {}
    files = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.append((name, value))
        elif name.endswith("[]"):
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    if [name for name, _ in files] != ["file"]:
        raise ApiError(400, "file: send exactly one recording in the field file", param="file")
    return files[0][1], validated(AudioFields, values)


def _job(
    upload: UploadFile,
    fields: AudioFields,
    worker: Worker,
    receipt: Receipt,
    defaults: Defaults,
    target: str | None,
) -> Job:
    try:
        source = language_or_auto(fields.language)
    except GemmaError as error:
        raise api_error(error, "language") from None
    if upload.size == 0:
        raise ApiError(400, "file: empty (0 bytes)", param="file")
    if fields.stream and fields.response_format not in ("json", "text"):
        raise ApiError(400, "stream: only the response formats json and text can be streamed", param="response_format")
    engine = BlockingEngine(worker, receipt.info)
    if target is None:
        task = Task(lambda: engine, instructions.transcription(source, fields.prompt), defaults.drafting)
    else:
        asked = instructions.translation(source or instructions.UNKNOWN_SOURCE, target, fields.prompt)
        task = Task(lambda: engine, asked, defaults.drafting, lambda reply: parse(reply, target))
    return Job(upload.file, fields, task, engine, target, source)


async def _heard(http: HttpRequest, job: Job, receipt: Receipt, form: FormData) -> Response:
    lines = _told(http, job, receipt, form)
    first = await while_present(http.receive, anext(lines))
    if job.fields.stream:
        return EventStream(first, lines)
    await lines.aclose()
    if job.fields.response_format in WRITERS:
        return Response(first, media_type=MEDIA_TYPES[job.fields.response_format])
    return Response(first, media_type="application/json")


async def _told(http: HttpRequest, job: Job, receipt: Receipt, form: FormData) -> AsyncGenerator[bytes, None]:
    """The lines of a stream, or the one body. Raises ApiError before the first."""
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[Segment | Exception | None] = asyncio.Queue()
    if not _recordings.acquire(blocking=False):
        wait = {"retry-after": "5"}
        raise ApiError(
            429,
            "the server is already transcribing as many recordings as possible: try again in 5 s",
            "rate_limit_error",
            headers=wait,
        )

    def work() -> None:
        try:
            job.run(lambda item: _post(loop, told, item))
        finally:
            _recordings.release()

    thread = Thread(target=work, name="gemma-recording", daemon=True)
    thread.start()
    try:
        begun = False
        while True:
            try:
                async with asyncio.timeout(PING_S if job.fields.stream else None):
                    item = await told.get()
            except TimeoutError:
                begun = True
                yield COMMENT
                continue
            if isinstance(item, Exception):
                if not begun or not isinstance(item, ApiError):
                    raise item
                yield sse(item.body())
                return
            if item is None:
                break
            if job.fields.stream:
                begun, space = True, " " if item.id else ""
                yield sse({"type": "transcript.text.delta", "delta": space + item.text})
        http.scope["state"]["log"].update(duration_s=round(job.duration_s, 3), segments=len(job.segments))
        yield _body(job, receipt)
    finally:
        job.engine.close()
        await asyncio.to_thread(thread.join)
        await form.close()


def _body(job: Job, receipt: Receipt) -> bytes:
    """Return the last line of a stream, or the body of a complete response."""
    form = job.fields.response_format
    speculation = together(job.turns).speculation
    about = receipt.of(Request((), GREEDY, job.task.drafting), speculation, job.text)
    usage = {"type": "duration", "seconds": math.ceil(job.duration_s)}
    if job.fields.stream:
        return sse({"type": "transcript.text.done", "text": job.text, "usage": usage, "gemma": about})
    if form in WRITERS:
        return document(job.segments, format_named(WRITERS[form])).encode("utf-8", "replace")
    fields: dict[str, Any] = {"text": job.text, "usage": usage, "gemma": about}
    if form == "verbose_json":
        fields |= {
            "task": "translate" if job.target else "transcribe",
            "language": (job.target or job.source or "unknown").lower(),
            "duration": round(job.duration_s, 3),
            "segments": [asdict(segment) for segment in job.segments],
        }
    return encoded(fields)


def _post(loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Any], item: Any) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(queue.put_nowait, item)
