"""Events that an engine yields while it works, and their collection into a Turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from gemma_cli.core.messages import ToolCall
from gemma_cli.core.records import dataclass

if TYPE_CHECKING:
    import numpy as np

Channel = Literal["answer", "thinking"]
FinishReason = Literal["stop", "length", "tool_calls", "interrupted"]


@dataclass(frozen=True)
class Delta:
    """Text that can be shown now; never a marker or a part of one."""

    channel: Channel
    text: str


@dataclass(frozen=True)
class ToolCalled:
    """The model asks for a tool; its turn ends with the last of these."""

    call: ToolCall


@dataclass(frozen=True)
class UnreadableCall:
    """The model asks for a tool in words that have no meaning, or more than one; nothing is carried out.

    name: the tool, where that could be read; text: all that the model wrote; reason: why it is unreadable.
    """

    name: str | None
    text: str
    reason: str


DraftSource = Literal["drafter", "lookup"]
"""The source of a draft: the MTP drafter, or the context, if the reply repeats it."""


@dataclass(frozen=True)
class Round:
    """One target pass: `drafted` tokens were checked, `accepted` of them kept (0 <= accepted <= drafted)."""

    drafted: int
    accepted: int
    source: DraftSource = "drafter"


@dataclass(frozen=True)
class Usage:
    """Tokens of a turn. media_tokens: those of the prompt that stand for pictures and sounds; None without any.

    media_encoded: how many pictures, frames and sounds went through a tower for it; None: not known.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int = 0
    media_tokens: int | None = None
    media_encoded: int | None = field(default=None, compare=False)  # a matter of what was encoded before


@dataclass(frozen=True)
class Timings:
    """Seconds. ttft_s runs from the request to the first token; decode_s from there to the last."""

    load_s: float | None = None
    ttft_s: float | None = None
    decode_s: float | None = None

    def tokens_per_second(self, completion_tokens: int) -> float | None:
        """Decode speed: the first token belongs to the prefill, so it is not counted."""
        return (completion_tokens - 1) / self.decode_s if self.decode_s and completion_tokens > 1 else None


@dataclass(frozen=True)
class Progress:
    """Figures of the reply so far: those that Done would give if it ended here."""

    usage: Usage
    timings: Timings


@dataclass(frozen=True)
class Calibration:
    """How the attention of a checkpoint follows sound, measured on its own transcripts.

    heads: of the alignment, those that follow. offset_s: seconds from the end of a word to the spike of its attention.
    mass: mean share of the attention on the path through the sound, 0..1.
    """

    heads: tuple[int, ...]
    offset_s: float
    mass: float


@dataclass(frozen=True)
class Alignment:
    """Which part of a recording each token of a reply attends to; comes before Done where the request asks for it.

    pieces: the text of each token. logprobs: natural logarithms of the tokens' probabilities. attention: float32
    [heads, tokens, frames], weights that the row which chose a token gives to frames of the recording. calibration: of
    the checkpoint, where there is one.
    """

    pieces: tuple[str, ...]
    logprobs: tuple[float, ...]
    attention: np.ndarray = field(compare=False, repr=False)
    calibration: Calibration | None = None


@dataclass(frozen=True)
class TokenScore:
    """A token, and the natural logarithm of its probability in the model's own distribution, which no temperature,
    limit or schema has changed. utf8: the bytes of its text, which may be a part of a character."""

    utf8: tuple[int, ...]
    logprob: float


@dataclass(frozen=True)
class TokenChosen:
    """A token of the answer; comes before the text that it completes, where the request asks for log-probabilities.

    likeliest: as many tokens as the request asks for, in falling order of their probability.
    """

    score: TokenScore
    likeliest: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class TimedWord:
    """A word of a transcript. start, end: seconds from the beginning of the recording. probability: the product of the
    probabilities of its tokens."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Done:
    finish_reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()


Event = Delta | ToolCalled | UnreadableCall | Round | Progress | TokenChosen | Alignment | Done


ENOUGH = 20
"""Drafts, or passes, from which their figures mean something."""

NEARLY_NONE = 0.05


@dataclass
class Speculation:
    """Counts over the target passes of a turn; the derived figures are named as vLLM names them."""

    rounds: list[Round] = field(default_factory=list)

    @property
    def target_passes(self) -> int:
        return len(self.rounds)

    @property
    def drafted(self) -> int:
        return sum(r.drafted for r in self.rounds)

    @property
    def accepted(self) -> int:
        return sum(r.accepted for r in self.rounds)

    @property
    def acceptance_rate(self) -> float | None:
        return self.accepted / self.drafted if self.drafted else None

    @property
    def mean_acceptance_length(self) -> float | None:
        """1 + accepted / target passes that had a draft."""
        drafted = [r for r in self.rounds if r.drafted]
        return 1 + self.accepted / len(drafted) if drafted else None

    def of(self, source: DraftSource) -> Speculation:
        """The passes whose drafts came from there."""
        return Speculation([r for r in self.rounds if r.drafted and r.source == source])

    @property
    def remark(self) -> str | None:
        """Return a remark about unusual figures, or None."""
        drafter, undrafted = self.of("drafter"), sum(not r.drafted for r in self.rounds)
        if drafter.drafted >= ENOUGH and drafter.accepted < NEARLY_NONE * drafter.drafted:
            return "almost no drafts were accepted, so the drafter may belong to another model"
        if self.drafted and self.target_passes >= ENOUGH and undrafted > self.target_passes / 2:
            return "drafting did not make the reply faster, so most passes drafted nothing"
        return None

    @property
    def acceptance_by_position(self) -> list[float] | None:
        """Share of drafted tokens accepted at draft position 1, 2, ..."""
        longest = max((r.drafted for r in self.rounds), default=0)
        if not longest:
            return None
        shares = []
        for position in range(1, longest + 1):
            tried = [r for r in self.rounds if r.drafted >= position]
            shares.append(sum(r.accepted >= position for r in tried) / len(tried))
        return shares


@dataclass
class Turn:
    """A finished (or cut off) reply."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    unreadable_calls: tuple[UnreadableCall, ...] = ()
    finish_reason: FinishReason = "interrupted"
    usage: Usage = Usage()
    timings: Timings = Timings()
    speculation: Speculation = field(default_factory=Speculation)
    alignment: Alignment | None = None
    words: tuple[TimedWord, ...] | None = None
    avg_logprob: float | None = None


def collect(events: Iterable[Event], draw: Callable[[Event], None] | None = None) -> Turn:
    """Fold a stream into a Turn; one that ended without Done stays `interrupted`, with the figures it had reached.

    draw: shows each event as it passes. Ctrl-C then ends the turn, which comes back with what was drawn, so that it can
    be saved. Whatever `draw` raises, BrokenPipeError above all, goes to the caller.
    """
    turn = Turn()
    texts: dict[Channel, list[str]] = {"answer": [], "thinking": []}
    try:
        for event in events:
            if draw:
                draw(event)
            match event:
                case Delta():
                    texts[event.channel].append(event.text)
                case ToolCalled():
                    turn.tool_calls += (event.call,)
                case UnreadableCall():
                    turn.unreadable_calls += (event,)
                case Round():
                    turn.speculation.rounds.append(event)
                case Progress():
                    turn.usage, turn.timings = event.usage, event.timings
                case Alignment():
                    turn.alignment = event
                case Done():
                    turn.finish_reason, turn.usage, turn.timings = event.finish_reason, event.usage, event.timings
    except KeyboardInterrupt:
        if draw is None:
            raise
    turn.text, turn.thinking = "".join(texts["answer"]), "".join(texts["thinking"])
    return turn


def together(turns: list[Turn]) -> Turn:
    """The figures of several turns as one turn's; the wait is the first one's."""
    return Turn(
        finish_reason=next((turn.finish_reason for turn in turns if turn.finish_reason != "stop"), "stop"),
        usage=Usage(
            prompt_tokens=sum(turn.usage.prompt_tokens for turn in turns),
            completion_tokens=sum(turn.usage.completion_tokens for turn in turns),
            thinking_tokens=sum(turn.usage.thinking_tokens for turn in turns),
            media_tokens=sum(turn.usage.media_tokens or 0 for turn in turns) or None,
            media_encoded=sum(turn.usage.media_encoded or 0 for turn in turns) or None,
        ),
        timings=Timings(
            ttft_s=turns[0].timings.ttft_s if turns else None,
            decode_s=sum(turn.timings.decode_s or 0.0 for turn in turns) or None,
        ),
        speculation=Speculation([r for turn in turns for r in turn.speculation.rounds]),
    )


def undrawn(event: Event) -> None:
    """Draw nothing: for a reply that is printed when it has ended."""
