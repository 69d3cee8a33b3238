"""What was heard, as the segments of a transcript."""

from __future__ import annotations

from collections.abc import Iterator

from gemma_cli.core.events import Turn
from gemma_cli.speech.pipeline import Utterance
from gemma_cli.text.transcript import Segment


def segments_of(heard: Iterator[Utterance], turns: list[Turn]) -> Iterator[Segment]:
    """Those with something in them, as they come; every turn is noted."""
    number = 0
    for piece in heard:
        turns.append(piece.turn)
        if piece.texts[0]:
            yield Segment(number, round(piece.start, 3), round(piece.end, 3), piece.texts[0])
            number += 1
