"""Measurement of servers under load, one or two in alternating runs: latency, speed, acceptance, and whether load
changes replies.

Every run asks every server the same prompts with the same seed, so many at once as asked for. A reply that differs from
the server's first one to that prompt is a divergence: of the server under load, or between two servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from statistics import median, quantiles
from time import perf_counter

from gemma_cli.benchmark.figures import first_difference
from gemma_cli.benchmark.suites import Prompt
from gemma_cli.common.replies import listen
from gemma_cli.core.engine import Engine, EngineInfo
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import Drafting, Request, Sampling, ask
from gemma_cli.engines.measure import draft_counters
from gemma_cli.engines.remote.metrics import DraftCounters

REQUESTS_EACH = 2
"""Requests of a run for each that is under way at once, at least."""


@dataclass(frozen=True)
class Difference:
    """Two replies to one prompt that differ. at: the first character that does. concurrency: of the later reply."""

    prompt: str
    at: int
    concurrency: int
    texts: tuple[str, str]


@dataclass
class Level:
    """The measurements of one server at one concurrency. speeds: tokens a second of each run, over all requests."""

    concurrency: int
    turns: list[Turn] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    drafts: DraftCounters | None = None

    @property
    def ttft_s(self) -> list[float]:
        return [turn.timings.ttft_s for turn in self.turns if turn.timings.ttft_s is not None]

    @property
    def tpot_s(self) -> list[float]:
        """Seconds for each token after the first, by reply."""
        timed = [turn for turn in self.turns if turn.timings.decode_s and turn.usage.completion_tokens > 1]
        return [(turn.timings.decode_s or 0.0) / (turn.usage.completion_tokens - 1) for turn in timed]


@dataclass
class ServerReport:
    """All concurrency levels of one server, and the first reply that load changed."""

    info: EngineInfo
    levels: list[Level]
    texts: dict[str, str] = field(default_factory=dict)
    differs: Difference | None = None


def measure_servers(
    engines: Sequence[Engine],
    prompts: Sequence[Prompt],
    sampling: Sampling,
    concurrencies: Sequence[int],
    runs: int,
    measured: Callable[[int], object] = lambda runs: None,
) -> list[ServerReport]:
    """Measure each concurrency, the engines in turns. Run 0 warms up and is not counted.

    measured: called with 1 after every run of a server.
    """
    reports = [ServerReport(engine.info, [Level(count) for count in concurrencies]) for engine in engines]
    for place in range(len(concurrencies)):
        for run in range(runs + 1):
            for engine, report in _in_turns(engines, reports, run):
                _run(engine, report, report.levels[place], prompts, sampling, counted=run > 0)
                measured(1)
    return reports


def between(reports: Sequence[ServerReport]) -> Difference | None:
    """The first prompt that two servers answer differently."""
    if len(reports) < 2:
        return None
    ours, theirs = reports[0].texts, reports[1].texts
    differing = (prompt for prompt in ours if prompt in theirs and ours[prompt] != theirs[prompt])
    prompt = next(differing, None)
    return None if prompt is None else _difference(prompt, ours[prompt], theirs[prompt], 1)


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median and 95th percentile; None where nothing was measured."""
    if not values:
        return None
    high = quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
    return {"median": median(values), "p95": high}


def acceptance(level: Level) -> tuple[float | None, float | None]:
    """(share of drafts accepted, mean acceptance length): from /metrics, else from the replies, else None."""
    if counted := level.drafts:
        rate = counted.accepted / counted.drafted if counted.drafted > 0 else None
        return rate, 1 + counted.accepted / counted.drafts if counted.drafts > 0 else None
    rounds = [each for turn in level.turns for each in turn.speculation.rounds if each.drafted]
    if not rounds:
        return None, None
    accepted = sum(each.accepted for each in rounds)
    return accepted / sum(each.drafted for each in rounds), 1 + accepted / len(rounds)


def _in_turns(
    engines: Sequence[Engine], reports: Sequence[ServerReport], run: int
) -> Iterator[tuple[Engine, ServerReport]]:
    pairs = list(zip(engines, reports, strict=True))
    yield from pairs if run % 2 else reversed(pairs)


def _run(
    engine: Engine, report: ServerReport, level: Level, prompts: Sequence[Prompt], sampling: Sampling, *, counted: bool
) -> None:
    size = max(len(prompts), REQUESTS_EACH * level.concurrency)
    asked = list(islice(cycle(prompts), size))

    def reply(prompt: Prompt) -> Turn:
        return listen(engine, Request(ask(prompt.text), sampling=sampling, drafting=Drafting()))

    before, began = draft_counters(engine), perf_counter()
    with ThreadPoolExecutor(level.concurrency) as pool:
        turns = list(pool.map(reply, asked))
    seconds, after = perf_counter() - began, draft_counters(engine)
    for prompt, turn in zip(asked, turns, strict=True):
        text = turn.thinking + turn.text
        first = report.texts.setdefault(prompt.text, text)
        report.differs = report.differs or _difference(prompt.text, first, text, level.concurrency)
    if not counted:
        return
    level.turns += turns
    level.speeds.append(sum(turn.usage.completion_tokens for turn in turns) / seconds)
    if before and after:
        level.drafts = (level.drafts or DraftCounters()) + (after - before)


def _difference(prompt: str, first: str, text: str, concurrency: int) -> Difference | None:
    if first == text:
        return None
    return Difference(prompt, first_difference(first, text), concurrency, (first, text))
