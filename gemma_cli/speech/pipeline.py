"""What the model makes of a recording, piece by piece: loops undone, seams joined, times from the sound alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from gemma_cli.common.notices import notice
from gemma_cli.common.replies import listen
from gemma_cli.core.engine import Engine
from gemma_cli.core.events import Speculation, Timings, Turn, Usage
from gemma_cli.core.messages import GREEDY, SAMPLE_RATE, Drafting, Request, Sampling, ask
from gemma_cli.media.segmenter import Piece
from gemma_cli.speech.recording import SpeechSource
from gemma_cli.store.journal import Journal
from gemma_cli.text.overlap import join
from gemma_cli.text.repetition import loop, without_loops

TOKENS_PER_SECOND = 15
"""Far more than anyone says in a second, in any script: a reply that needs more has run into a loop."""

ESCAPE = Sampling(temperature=0.6, seed=0)
"""How a piece is decoded again after a loop."""

SAME_AGAIN = 8
"""Pieces with one and the same text, one after the other, that are worth a warning."""


@dataclass(frozen=True)
class Task:
    """What to ask about each piece; read takes the reply apart: a transcript, or a transcript and its translation."""

    engine: Callable[[], Engine]  # loaded when there is something to hear
    instruction: str
    drafting: Drafting
    read: Callable[[str], tuple[str, ...]] = lambda reply: (reply,)


@dataclass(frozen=True)
class Utterance:
    """What was said from `start` to `end`, in seconds.

    overlaps: the next one begins before this ends. resumed: it was decoded by an earlier run.
    """

    start: float
    end: float
    texts: tuple[str, ...]
    turn: Turn
    overlaps: bool = False
    resumed: bool = False


@dataclass(frozen=True)
class SegmentSpan:
    """Where a piece stands in its recording, in seconds; overlaps: the next one begins before it ends."""

    start: float
    end: float
    overlaps: bool = False


@dataclass(frozen=True)
class Answer:
    """The reply to a piece; resumed: it was decoded by an earlier run."""

    place: SegmentSpan
    turn: Turn
    resumed: bool = False


def hear(task: Task, recording: SpeechSource, journal: Journal) -> Iterator[Utterance]:
    """Every piece in order, as it comes, and none before it is needed."""
    return understood(task, recording.name, _answers(task, recording, journal))


def understood(task: Task, name: str, answers: Iterator[Answer]) -> Iterator[Utterance]:
    """What the replies to the pieces of a recording, in order, say was said in it."""
    return _warned(_joined(_read(task, name, answers)), name)


def request_of(task: Task, piece: Piece) -> Request:
    """What is asked about a piece: greedily. The text goes before the sound, as Gemma 4's card says."""
    limit = math.ceil(TOKENS_PER_SECOND * len(piece.audio.samples) / SAMPLE_RATE) + 64
    return Request(ask(task.instruction, piece.audio), replace(GREEDY, max_tokens=limit), task.drafting)


def again(request: Request) -> Request:
    """The same by sampling, where the reply ran into a loop."""
    return replace(request, sampling=replace(ESCAPE, max_tokens=request.sampling.max_tokens))


def loops(turn: Turn) -> bool:
    """Whether a reply repeats itself, or never ends."""
    return turn.finish_reason == "length" or loop(turn.text) is not None


def together(turns: list[Turn]) -> Turn:
    """The figures of several turns as one turn's; the wait is the first one's."""
    return Turn(
        finish_reason=next((turn.finish_reason for turn in turns if turn.finish_reason != "stop"), "stop"),
        usage=Usage(
            prompt_tokens=sum(turn.usage.prompt_tokens for turn in turns),
            completion_tokens=sum(turn.usage.completion_tokens for turn in turns),
            thinking_tokens=sum(turn.usage.thinking_tokens for turn in turns),
        ),
        timings=Timings(
            ttft_s=turns[0].timings.ttft_s if turns else None,
            decode_s=sum(turn.timings.decode_s or 0.0 for turn in turns) or None,
        ),
        speculation=Speculation([r for turn in turns for r in turn.speculation.rounds]),
    )


def _answers(task: Task, recording: SpeechSource, journal: Journal) -> Iterator[Answer]:
    for piece in recording.pieces():
        finished = journal.find(piece.audio.digest)
        turn = finished or _decode(task, piece)
        if not finished:
            journal.add(piece.audio.digest, turn)
        yield Answer(SegmentSpan(piece.start, piece.end, piece.overlaps), turn, resumed=finished is not None)


def _decode(task: Task, piece: Piece) -> Turn:
    request = request_of(task, piece)
    turn = listen(task.engine(), request)
    if not loops(turn):
        return turn
    other = listen(task.engine(), again(request))
    return turn if loops(other) else other


def _read(task: Task, name: str, answers: Iterator[Answer]) -> Iterator[Utterance]:
    for answer in answers:
        place, turn = answer.place, answer.turn
        texts = tuple(without_loops(text).strip() for text in task.read(turn.text))
        if turn.finish_reason == "length":
            notice(f"{name}: the reply to what is said at {place.start:.0f} s does not end; do not trust it")
        yield Utterance(place.start, place.end, texts, turn, place.overlaps, answer.resumed)


def _joined(heard: Iterator[Utterance]) -> Iterator[Utterance]:
    """The same without what two pieces both say where speech had to be cut; there one ends where the next begins."""
    held: Utterance | None = None
    for following in heard:
        if held and held.overlaps and following.start < held.end:
            held, following = _join(held, following)
        if held:
            yield held
        held = following
        if not held.overlaps:
            yield held
            held = None
    if held:
        yield held


def _join(left: Utterance, right: Utterance) -> tuple[Utterance, Utterance]:
    overlap = left.end - right.start
    shares = overlap / (left.end - left.start), overlap / (right.end - right.start)
    pairs = [join(before, after, *shares) for before, after in zip(left.texts, right.texts, strict=True)]
    seam = right.start + overlap / 2
    return (
        replace(left, end=seam, texts=tuple(before for before, _ in pairs)),
        replace(right, start=seam, texts=tuple(after for _, after in pairs)),
    )


def _warned(heard: Iterator[Utterance], name: str) -> Iterator[Utterance]:
    """The same; one notice where the model says the same thing to one piece after another."""
    last: tuple[str, ...] = ()
    times = 0
    for piece in heard:
        times = times + 1 if piece.texts == last and any(piece.texts) else 1
        last = piece.texts
        if times == SAME_AGAIN:
            notice(f"{name}: {times} pieces up to {piece.end:.0f} s have one and the same text; do not trust it")
        yield piece
