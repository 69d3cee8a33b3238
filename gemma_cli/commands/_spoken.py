"""Translating speech: each piece is written down and translated in one reply."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from gemma_cli import transcript
from gemma_cli.commands._ahead import Ahead
from gemma_cli.commands._common import figures, notice, start
from gemma_cli.commands._hearing import Heard, Task, together, understood
from gemma_cli.commands._outputs import SUBTITLES
from gemma_cli.commands._progress import progress, watched
from gemma_cli.commands._recording import Recording
from gemma_cli.commands._resuming import kept
from gemma_cli.engines import Engine
from gemma_cli.events import Turn
from gemma_cli.options import EngineOptions, OutputOptions
from gemma_cli.transcript import Segment
from gemma_cli.views.sanitize import safe

Show = Literal["translation", "transcript", "both"]


@dataclass(frozen=True)
class Speech:
    """What is wanted of a recording, and the prompt that asks for it. source None: the model hears the language."""

    source: str | None
    target: str
    prompt: str
    form: str
    show: Show


@dataclass(frozen=True)
class Translated(Segment):
    """text: the translation."""

    transcript: str = ""


def parse(reply: str, target: str) -> tuple[str, str]:
    """(transcript, translation) of a reply to the speech prompt.

    Models at times leave out the newline, or the label, or the transcript; what stands last is the translation.
    """
    for mark in (f"\n{target}: ", f"{target}: ", f"{target}:", "\n"):
        said, found, translation = reply.rpartition(mark) if mark == "\n" else reply.partition(mark)
        if found:
            return said.strip(), translation.strip()
    return "", reply.strip()


def translate_speech(file: str, speech: Speech, options: EngineOptions, output: OutputOptions) -> None:
    """Write what is said in a file, in another language, to stdout. Raises InputError."""

    @cache
    def model() -> Engine:
        return start(options, output)

    task = Task(model, speech.prompt, options.drafting(), lambda reply: parse(reply, speech.target))
    turns: list[Turn] = []
    visible = not output.quiet and not sys.stdout.isatty()
    with Ahead(task, [kept(task, file, options, output)]) as ahead, ahead.following() as (recording, answers):
        with progress(recording, "", visible) as told:
            segments = _segments(watched(understood(task, recording.name, answers), told), turns)
            if output.as_json:
                _print_object(list(segments), turns, recording, speech, model(), options.draft_tokens)
            else:
                _print(segments, speech)
        if not turns and not output.quiet:
            notice(f"{recording.name}: nobody speaks in it ({recording.duration_s:.1f} s)")
    if output.stats:
        notice(figures(together(turns)))


def _segments(heard: Iterator[Heard], turns: list[Turn]) -> Iterator[Translated]:
    number = 0
    for piece in heard:
        turns.append(piece.turn)
        said, translation = piece.texts
        if said or translation:
            yield Translated(number, round(piece.start, 3), round(piece.end, 3), translation, said)
            number += 1


def _print(segments: Iterator[Translated], speech: Speech) -> None:
    for piece in transcript.writer(speech.form)(_shown(segments, speech)):
        sys.stdout.write(safe(piece))
        sys.stdout.flush()


def _shown(segments: Iterator[Translated], speech: Speech) -> Iterator[Segment]:
    """The asked-for text of each segment; both: in subtitles and JSON together, elsewhere one after the other."""
    for segment in segments:
        if speech.show == "translation":
            yield Segment(segment.id, segment.start, segment.end, segment.text)
        elif speech.show == "transcript":
            yield Segment(segment.id, segment.start, segment.end, segment.transcript)
        elif speech.form == "json":
            yield segment
        elif speech.form in SUBTITLES:
            yield replace(segment, text=f"{segment.transcript}\n{segment.text}")
        else:
            yield replace(segment, text=segment.transcript)
            yield segment


def _print_object(
    segments: list[Translated],
    turns: list[Turn],
    recording: Recording,
    speech: Speech,
    engine: Engine,
    draft_tokens: int,
) -> None:
    from gemma_cli.views import json

    fields = json.transcript_object(
        turns,
        engine.info,
        draft_tokens,
        file=recording.name,
        language=speech.source,
        duration_s=recording.duration_s,
        segments=segments,
    )
    said = " ".join(segment.transcript for segment in segments if segment.transcript)
    json.write(fields | {"target_language": speech.target, "transcript": said}, sys.stdout)
