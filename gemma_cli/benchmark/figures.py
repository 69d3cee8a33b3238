"""Figures from measurements: the results of each arm, overall and by category, and whether texts differ.

A run's speed is all its tokens over all its decoding time, the first token of each reply left out (it belongs to the
prefill). What is reported is the median over the runs, with the slowest and the fastest beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from statistics import mean, median

from gemma_cli.benchmark.memory import Memory
from gemma_cli.benchmark.runner import Arm, Measurement
from gemma_cli.benchmark.suites import Prompt
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Speculation
from gemma_cli.core.messages import Sampling


@dataclass(frozen=True)
class Spread:
    median: float
    min: float
    max: float


@dataclass(frozen=True)
class ArmFigures:
    """tokens_per_second: None when no reply had a second token. tokens, prompt_tokens: of the average reply. ttft_s:
    median. round_efficiency: median over the runs, None where it is not known."""

    arm: Arm
    tokens_per_second: Spread | None
    ttft_s: float | None
    tokens: float
    prompt_tokens: float
    speculation: Speculation
    round_efficiency: float | None


@dataclass(frozen=True)
class Comparison:
    """All arms on the same prompts: ours, and the peer's, each by rising draft length."""

    own: tuple[ArmFigures, ...]
    peers: tuple[ArmFigures, ...]

    @property
    def plain(self) -> ArmFigures | None:
        return next((figures for figures in self.own if not figures.arm.drafting.draft_tokens), None)

    @property
    def best(self) -> ArmFigures | None:
        """The fastest of our arms that draft."""
        drafting = [f for f in self.own if f.arm.drafting.draft_tokens and f.tokens_per_second]
        return max(drafting, key=lambda f: f.tokens_per_second.median if f.tokens_per_second else 0.0, default=None)

    @property
    def speedup(self) -> float | None:
        """Our best over our plain decoding."""
        return ratio(self.best, self.plain)

    def peer_of(self, figures: ArmFigures | None) -> ArmFigures | None:
        """The peer's arm that drafts as many."""
        wanted = figures and figures.arm.drafting
        return next((peer for peer in self.peers if peer.arm.drafting == wanted), None)


@dataclass(frozen=True)
class Divergence:
    """Difference of a reply from our plainest arm's first reply to the same prompt. character: counted from 0."""

    prompt: str
    run: int
    arm: str
    character: int
    expected: str
    got: str


@dataclass(frozen=True)
class Report:
    """All that was measured on one model. categories: the same for each category of prompts. divergence: among our
    own arms, where none may be; peer_divergence: of the peer's from ours, where they can be compared. bandwidth: bytes
    a second. by_context: the categories are lengths of context."""

    info: EngineInfo
    sampling: Sampling
    runs: int
    overall: Comparison
    categories: dict[str, Comparison]
    divergence: Divergence | None
    peer: str | None
    peer_divergence: Divergence | None
    bandwidth: float | None
    by_context: bool

    @property
    def arms(self) -> tuple[ArmFigures, ...]:
        return self.overall.own

    @property
    def speedup(self) -> float | None:
        return self.overall.speedup


def summarize(
    info: EngineInfo,
    sampling: Sampling,
    measurements: Iterable[Measurement],
    peer: EngineInfo | None = None,
    memory: Memory | None = None,
) -> Report:
    """Fold measurements, warm-up included, into a Report."""
    counted = [measurement for measurement in measurements if measurement.run]
    categories = dict.fromkeys(measurement.prompt.category for measurement in counted)
    own = [m for m in counted if not m.arm.peer]
    peers = [m for m in counted if m.arm.peer]
    comparable = info.synthetic_acceptance is None  # otherwise the text depends on the drafts
    return Report(
        info=info,
        sampling=sampling,
        runs=max((measurement.run for measurement in counted), default=0),
        overall=_compared(counted, memory),
        categories={name: _compared([m for m in counted if m.prompt.category == name], memory) for name in categories},
        divergence=_first_divergence(own, own) if comparable else None,
        peer=peer.model if peer else None,
        peer_divergence=_first_divergence(own, peers) if comparable and not sampling.temperature else None,
        bandwidth=memory.bandwidth if memory else None,
        by_context=any(m.prompt.history for m in counted),
    )


def _compared(measurements: Sequence[Measurement], memory: Memory | None) -> Comparison:
    arms = sorted({m.arm for m in measurements}, key=lambda arm: arm.drafting.draft_tokens)
    figures = [_figures(arm, [m for m in measurements if m.arm == arm], memory) for arm in arms]
    return Comparison(
        own=tuple(f for f in figures if not f.arm.peer),
        peers=tuple(f for f in figures if f.arm.peer),
    )


def _figures(arm: Arm, measurements: Sequence[Measurement], memory: Memory | None) -> ArmFigures:
    turns = [m.turn for m in measurements]
    by_run = [list(run) for _, run in groupby(sorted(measurements, key=_run), key=_run)]
    speeds = [speed for run in by_run if (speed := _speed(run))]
    waits = [turn.timings.ttft_s for turn in turns if turn.timings.ttft_s is not None]
    shares = [share for run in by_run if memory and (share := memory.efficiency([m.turn for m in run])) is not None]
    return ArmFigures(
        arm=arm,
        tokens_per_second=Spread(median(speeds), min(speeds), max(speeds)) if speeds else None,
        ttft_s=median(waits) if waits else None,
        tokens=mean(turn.usage.completion_tokens for turn in turns),
        prompt_tokens=mean(turn.usage.prompt_tokens for turn in turns),
        speculation=Speculation([r for turn in turns for r in turn.speculation.rounds]),
        round_efficiency=median(shares) if shares and not arm.peer else None,
    )


def _run(measurement: Measurement) -> int:
    return measurement.run


def _speed(measurements: Sequence[Measurement]) -> float | None:
    timed = [m.turn for m in measurements if m.turn.timings.decode_s]
    seconds = sum(turn.timings.decode_s or 0.0 for turn in timed)
    tokens = sum(turn.usage.completion_tokens - 1 for turn in timed)
    return tokens / seconds if tokens > 0 else None


def ratio(ours: ArmFigures | None, theirs: ArmFigures | None) -> float | None:
    """Divide one arm's median speed by another's; None if one is unknown."""
    first = theirs and theirs.tokens_per_second
    last = ours and ours.tokens_per_second
    return last.median / first.median if first and last else None


def first_difference(one: str, other: str) -> int:
    """Return the place of the first character that differs, or the length of the shorter text."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _first_divergence(own: Sequence[Measurement], held: Sequence[Measurement]) -> Divergence | None:
    """The first of `held` that is not what our plainest arm first said to its prompt; runs are compared too."""
    expected: dict[Prompt, str] = {}
    for m in sorted(own, key=_plainest_first):
        expected.setdefault(m.prompt, _said(m))
    for m in sorted(held, key=_plainest_first):
        first, text = expected[m.prompt], _said(m)
        if text != first:
            at = first_difference(first, text)
            return Divergence(m.prompt.text, m.run, m.arm.name, at, first[at : at + 40], text[at : at + 40])
    return None


def _plainest_first(measurement: Measurement) -> tuple[int, int]:
    return measurement.run, measurement.arm.drafting.draft_tokens


def _said(measurement: Measurement) -> str:
    return measurement.turn.thinking + measurement.turn.text
