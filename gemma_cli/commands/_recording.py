"""Sound files of any length, heard by the model a piece at a time."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gemma_cli.commands._common import listen, notice
from gemma_cli.engines import Engine
from gemma_cli.events import Speculation, Timings, Turn, Usage
from gemma_cli.media.audio import MAX_SECONDS, segments
from gemma_cli.media.files import STDIN, display_name
from gemma_cli.messages import GREEDY, SAMPLE_RATE, Audio, Drafting, Request, Sampling, ask
from gemma_cli.options import OutputOptions
from gemma_cli.transcript import Segment

TOKENS_PER_SECOND = 15
"""Far more than anyone says in a second, in any script: a reply that needs more has run into a loop."""

ESCAPE = 0.6
"""Temperature of the one new attempt after a loop."""


Heard = Iterator[tuple[Segment, Turn]]


@dataclass(frozen=True)
class Recording:
    """A sound file known to be whole. kept: its pieces, where it can be read only once."""

    path: str
    name: str
    duration_s: float
    kept: tuple[tuple[float, Audio], ...] | None = None

    def pieces(self) -> Iterator[tuple[float, Audio]]:
        """(start in seconds, at most 30 s of sound), cut in pauses."""
        return iter(self.kept) if self.kept is not None else segments(self.path)


def survey(path: str) -> Recording:
    """Read a file through once, which costs little beside hearing it: a bad one is told before anything is written.

    Raises InputError.
    """
    kept = tuple(segments(path)) if path == STDIN else None
    end = 0.0
    for start, audio in kept if kept is not None else segments(path):
        end = start + len(audio.samples) / SAMPLE_RATE
    return Recording(path, display_name(path), end, kept)


def hear(engine: Engine, recording: Recording, instruction: str, drafting: Drafting) -> Heard:
    """What the model makes of each piece, as it comes; the text goes before the sound, as Gemma 4's card has it."""
    for number, (start, audio) in enumerate(recording.pieces()):
        seconds = len(audio.samples) / SAMPLE_RATE
        limit = math.ceil(TOKENS_PER_SECOND * seconds) + 64
        request = Request(ask(instruction, audio), replace(GREEDY, max_tokens=limit), drafting)
        turn = listen(engine, request)
        if turn.finish_reason == "length":
            turn = _again(engine, request, turn, start)
        yield Segment(number, start, start + seconds, turn.text.strip()), turn


def _again(engine: Engine, request: Request, looped: Turn, start: float) -> Turn:
    """Another attempt, sampled, at a piece that greedy decoding did not get to the end of."""
    sampling = Sampling(temperature=ESCAPE, max_tokens=request.sampling.max_tokens)
    turn = listen(engine, replace(request, sampling=sampling))
    if turn.finish_reason != "length":
        return turn
    notice(f"the reply to what is said at {start:.0f} s does not end; do not trust it")
    return looped


def watched(heard: Heard, recording: Recording, output: OutputOptions) -> Heard:
    """The same, showing on stderr how far it is, unless the text itself shows it."""
    if output.quiet or sys.stdout.isatty() or recording.duration_s <= MAX_SECONDS:
        yield from heard
        return
    from gemma_cli.views.live import terminal
    from gemma_cli.views.status import counting

    with counting(terminal(sys.stderr), recording.name, round(recording.duration_s), "s") as advance:
        for segment, turn in heard:
            advance(round(segment.end) - round(segment.start))
            yield segment, turn


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
