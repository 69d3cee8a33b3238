"""Starts of words and sentences, and what finding them costs.

"characters" shares a segment's time by its characters, as cues without word times do. Only segments that were written
exactly are counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from gemma_cli.core.engine import Engine
from gemma_cli.core.events import TimedWord, Turn, collect
from gemma_cli.media.segmenter import Piece, pieces
from gemma_cli.media.voice_activity import VoiceDetector
from gemma_cli.speech.pipeline import Task, answered, place_of, request_of
from training.data.timed_speech import TimedSegment


def heard(task: Task, engine: Engine, spoken: TimedSegment) -> Iterator[tuple[Piece, Turn]]:
    """Yield the pieces of a segment that the detector finds, with their replies."""
    for piece in pieces(iter([spoken.samples]), VoiceDetector(), "segment"):
        turn = collect(engine.stream(request_of(task, piece)))
        yield piece, answered(place_of(task, piece), turn).turn


def errors(spoken: TimedSegment, words: tuple[TimedWord, ...], piece: Piece) -> Iterator[tuple[bool, float, float]]:
    """Yield for each word whose time is known whether it begins a sentence inside the segment, and how far its start
    is off in seconds: timed, and shared by characters."""
    lengths = np.array([len(word) + 1 for word, _, _ in spoken.words])
    begins = piece.start + (piece.end - piece.start) * np.append(0, lengths.cumsum()[:-1]) / lengths.sum()
    texts = [word for word, _, _ in spoken.words]
    opens = [False, *(before[-1] in ".?!" for before, _ in pairwise(texts))]
    for first, (_, start, _), word, begin in zip(opens, spoken.words, words, begins, strict=True):
        if start is not None:
            yield first, abs(word.start - start), abs(float(begin) - start)


def measure(name: str, spoken: list[TimedSegment], task: Task, engine: Engine) -> None:
    found: list[tuple[bool, float, float]] = []
    right = exact = 0
    for one in spoken:
        replies = list(heard(task, engine, one))
        exact += " ".join(turn.text.strip() for _, turn in replies) == one.text
        if len(replies) != 1 or replies[0][1].text.strip() != one.text or not (words := replies[0][1].words):
            continue
        right += 1
        found += errors(one, words, replies[0][0])
    print(f"{name}: {exact} of {len(spoken)} segments written exactly, {right} of them timed, {len(found)} words")
    if not found:
        return
    table = np.array(found)
    for label, column in (("word times", 1), ("characters", 2)):
        for what, values in (("words", table[:, column]), ("sentences", table[table[:, 0] == 1, column])):
            if len(values):
                mean, median, most = (1000 * x for x in (np.mean(values), np.median(values), np.percentile(values, 90)))
                print(
                    f"  starts of {what}, {label}: mean {mean:.0f} ms, median {median:.0f}, 90 % {most:.0f}; "
                    f"{np.mean(values > 0.3):.1%} of {len(values)} off by more than 0.3 s",
                    flush=True,
                )


def cost(spoken: list[TimedSegment], task: Task, plain: Task, engine: Engine) -> None:
    """Print what word times add to the processor time of a transcription, taken in turn on one thread."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(6):  # all segments each time: one that follows itself is not read again
        which = task if turn % 2 else plain
        began = time.process_time()
        for one in spoken:
            list(heard(which, engine, one))
        seconds[which.word_times].append(time.process_time() - began)
    share = min(seconds[True]) / min(seconds[False]) - 1
    print(f"cost of word times: {100 * share:.1f} % of the transcription")
