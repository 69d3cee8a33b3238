"""Transcription of a recording, segment by segment: loops removed, overlaps joined, times from the sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gemma_cli.common.notices import notice
from gemma_cli.core.engine import Engine
from gemma_cli.core.events import TimedWord, Turn
from gemma_cli.core.messages import GREEDY, SAMPLE_RATE, Drafting, Request, ask
from gemma_cli.engines.replies import ordered_replies
from gemma_cli.media.segmenter import Piece
from gemma_cli.speech.recording import SpeechSource
from gemma_cli.text.overlap import join, words
from gemma_cli.text.repetition import loop, without_loops

if TYPE_CHECKING:
    from gemma_cli.speech.word_times.words import SoundPlace

TOKENS_PER_SECOND = 15
"""Tokens per second of sound: far more than anyone speaks, in any script; a longer reply is a loop."""

SAME_AGAIN = 8
"""Pieces with one and the same text, one after the other, that are worth a warning."""


@dataclass(frozen=True)
class Task:
    """What to ask about each piece.

    read: takes the reply apart: a transcript, or a transcript and its translation. word_times: ask for the times of the
    words of a transcript.
    """

    engine: Callable[[], Engine]  # loaded with the first segment
    instruction: str
    drafting: Drafting
    read: Callable[[str], tuple[str, ...]] = lambda reply: (reply,)
    word_times: bool = False


@dataclass(frozen=True)
class Utterance:
    """The text from `start` to `end`, in seconds.

    overlaps: the next one begins before this ends. resumed: it was decoded by an earlier run. words: of the first text;
    None where they have no times.
    """

    start: float
    end: float
    texts: tuple[str, ...]
    turn: Turn
    overlaps: bool = False
    resumed: bool = False
    words: tuple[TimedWord, ...] | None = None


@dataclass(frozen=True)
class SegmentSpan:
    """Where a piece stands in its recording, in seconds.

    overlaps: the next one begins before it ends. sound: what the times of its words need; None where nobody asks.
    """

    start: float
    end: float
    overlaps: bool = False
    sound: SoundPlace | None = None


@dataclass(frozen=True)
class Answer:
    """The reply to a segment; resumed: decoded by an earlier run."""

    place: SegmentSpan
    turn: Turn
    resumed: bool = False


class Utterances:
    """Turns the replies to the pieces of a recording, in order, into what was said in it."""

    def __init__(self, task: Task, name: str) -> None:
        self._task, self._name = task, name
        self._held: Utterance | None = None  # overlaps the next one
        self._last: tuple[str, ...] = ()
        self._times = 0

    def feed(self, answer: Answer) -> list[Utterance]:
        """Return what is certain with one more reply.

        Where speech had to be cut, two pieces say the same words; they are left out once, and one ends where the next
        begins.
        """
        held, following = self._held, self._read(answer)
        if held and following.start < held.end:
            held, following = _join(held, following)
        self._held = following if following.overlaps else None
        ready = [utterance for utterance in (held, following) if utterance and utterance is not self._held]
        for utterance in ready:
            self._check(utterance)
        return ready

    def end(self) -> list[Utterance]:
        """Return the utterances that the last segment left open."""
        ready = [self._held] if self._held else []
        for utterance in ready:
            self._check(utterance)
        return ready

    def _read(self, answer: Answer) -> Utterance:
        place, turn = answer.place, answer.turn
        texts = tuple(without_loops(text).strip() for text in self._task.read(turn.text))
        if turn.finish_reason == "length":
            notice(
                f"{self._name}: the transcript repeats the same words from {place.start:.0f} s on; check the transcript"
            )
        words = turn.words if texts[0] == turn.text.strip() else None
        return Utterance(place.start, place.end, texts, turn, place.overlaps, answer.resumed, words)

    def _check(self, utterance: Utterance) -> None:
        """Warn once if the model gives the same text for many segments in a row."""
        self._times = self._times + 1 if utterance.texts == self._last and any(utterance.texts) else 1
        self._last = utterance.texts
        if self._times == SAME_AGAIN:
            notice(
                f"{self._name}: {self._times} segments before "
                f"{utterance.end:.0f} s have the same text; check the transcript"
            )


def spoken_answers(task: Task, source: SpeechSource) -> Iterator[Answer]:
    """Yield the reply to every segment in order, each requested only when needed."""
    for piece in source.pieces():
        (turn,) = ordered_replies(task.engine(), [request_of(task, piece)], loops)
        yield answered(place_of(task, piece), turn)


def place_of(task: Task, piece: Piece) -> SegmentSpan:
    """Return where a piece stands, with what the times of its words need if the task asks for them."""
    if not task.word_times:
        return SegmentSpan(piece.start, piece.end, piece.overlaps)
    from gemma_cli.speech.word_times.words import SoundPlace

    return SegmentSpan(piece.start, piece.end, piece.overlaps, SoundPlace.of(piece))


def answered(place: SegmentSpan, turn: Turn) -> Answer:
    """Return the reply to a piece, with the times of its words where they are asked for."""
    if place.sound is None:
        return Answer(place, turn)
    from gemma_cli.speech.word_times.words import with_words

    return Answer(place, with_words(turn, place.sound))


def request_of(task: Task, piece: Piece) -> Request:
    """Build the request for a segment, decoded greedily. The text goes before the sound, as Gemma 4's card says."""
    limit = math.ceil(TOKENS_PER_SECOND * len(piece.audio.samples) / SAMPLE_RATE) + 64
    return Request(
        ask(task.instruction, piece.audio),
        replace(GREEDY, max_tokens=limit),
        task.drafting,
        word_times=task.word_times,
    )


def loops(_: int, turn: Turn) -> bool:
    """Return whether a reply repeats itself or never ends."""
    return turn.finish_reason == "length" or loop(turn.text) is not None


def _join(left: Utterance, right: Utterance) -> tuple[Utterance, Utterance]:
    overlap = left.end - right.start
    shares = overlap / (left.end - left.start), overlap / (right.end - right.start)
    pairs = [join(before, after, *shares) for before, after in zip(left.texts, right.texts, strict=True)]
    seam = right.start + overlap / 2
    before, after = pairs[0]
    first = left.words[: len(words(before))] if left.words else None
    rest = right.words[len(right.words) - len(words(after)) :] if right.words else None
    return (
        replace(left, end=first[-1].end if first else seam, texts=tuple(before for before, _ in pairs), words=first),
        replace(right, start=rest[0].start if rest else seam, texts=tuple(after for _, after in pairs), words=rest),
    )
