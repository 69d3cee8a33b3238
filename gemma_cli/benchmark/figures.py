"""Measurements to figures: what each arm did, overall and by category, and whether they said the same.

A run's speed is all its tokens over all its decoding time, the first token of each reply left out (it belongs to the
prefill). What is reported is the median over the runs, with the slowest and the fastest beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from statistics import mean, median

from gemma_cli.benchmark.runner import Arm, Measurement
from gemma_cli.engines import EngineInfo
from gemma_cli.events import Speculation


@dataclass(frozen=True)
class Spread:
    median: float
    min: float
    max: float


@dataclass(frozen=True)
class ArmFigures:
    """tokens_per_second: None when no reply had a second token. tokens: of the average reply. ttft_s: median."""

    arm: Arm
    tokens_per_second: Spread | None
    ttft_s: float | None
    tokens: float
    speculation: Speculation


@dataclass(frozen=True)
class Divergence:
    """Where a reply first differs from the first arm's first reply to the same prompt; character counts from 0."""

    prompt: str
    run: int
    arm: str
    character: int
    expected: str
    got: str


@dataclass(frozen=True)
class Report:
    """All that was measured on one model. categories: the arms' figures for each category of prompts."""

    info: EngineInfo
    seed: int
    runs: int
    arms: tuple[ArmFigures, ...]
    categories: dict[str, tuple[ArmFigures, ...]]
    divergence: Divergence | None

    @property
    def speedup(self) -> float | None:
        return speedup(self.arms)


def summarize(info: EngineInfo, seed: int, measurements: Iterable[Measurement]) -> Report:
    """Fold measurements, warm-up included, into a Report."""
    counted = [measurement for measurement in measurements if measurement.run]
    categories = dict.fromkeys(measurement.prompt.category for measurement in counted)
    return Report(
        info=info,
        seed=seed,
        runs=max((measurement.run for measurement in counted), default=0),
        arms=_arms(counted),
        categories={name: _arms([m for m in counted if m.prompt.category == name]) for name in categories},
        divergence=_first_divergence(counted),
    )


def _arms(measurements: Sequence[Measurement]) -> tuple[ArmFigures, ...]:
    """Figures of each arm, the one that drafts least first."""
    arms = {m.arm for m in measurements}
    return tuple(
        _figures(arm, [m for m in measurements if m.arm == arm])
        for arm in sorted(arms, key=lambda arm: arm.drafting.draft_tokens)
    )


def _figures(arm: Arm, measurements: Sequence[Measurement]) -> ArmFigures:
    turns = [m.turn for m in measurements]
    by_run = [list(run) for _, run in groupby(sorted(measurements, key=_run), key=_run)]
    speeds = [speed for run in by_run if (speed := _speed(run))]
    waits = [turn.timings.ttft_s for turn in turns if turn.timings.ttft_s is not None]
    return ArmFigures(
        arm=arm,
        tokens_per_second=Spread(median(speeds), min(speeds), max(speeds)) if speeds else None,
        ttft_s=median(waits) if waits else None,
        tokens=mean(turn.usage.completion_tokens for turn in turns),
        speculation=Speculation([r for turn in turns for r in turn.speculation.rounds]),
    )


def _run(measurement: Measurement) -> int:
    return measurement.run


def _speed(measurements: Sequence[Measurement]) -> float | None:
    timed = [m.turn for m in measurements if m.turn.timings.decode_s]
    seconds = sum(turn.timings.decode_s or 0.0 for turn in timed)
    tokens = sum(turn.usage.completion_tokens - 1 for turn in timed)
    return tokens / seconds if tokens > 0 else None


def speedup(arms: Sequence[ArmFigures]) -> float | None:
    """The last arm's median speed over the first's; None where either has none."""
    if len(arms) < 2:
        return None
    first, last = arms[0].tokens_per_second, arms[-1].tokens_per_second
    return last.median / first.median if first and last else None


def _first_divergence(measurements: Sequence[Measurement]) -> Divergence | None:
    """Every reply is held against the plainest arm's first one to its prompt, so that runs are compared too."""
    expected: dict[str, str] = {}
    for m in sorted(measurements, key=lambda m: (m.run, m.arm.drafting.draft_tokens)):
        text = m.turn.thinking + m.turn.text
        first = expected.setdefault(m.prompt.text, text)
        if text != first:
            at = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, text, strict=False)))
            return Divergence(m.prompt.text, m.run, m.arm.name, at, first[at : at + 40], text[at : at + 40])
    return None
