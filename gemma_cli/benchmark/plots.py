"""Curves of tokens/s, over draft length and over context: bars in the terminal, or a PNG through matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_cli.benchmark.figures import ArmFigures, Report, Spread
from gemma_cli.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 40  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Point:
    x: int
    speed: Spread


@dataclass(frozen=True)
class Chart:
    """tokens/s over `x`: one line of points for each name."""

    title: str
    x: str
    lines: dict[str, tuple[Point, ...]]


def charts(report: Report) -> list[Chart]:
    """Return what the bench can plot: draft lengths if three were tried, contexts if two were."""
    found = []
    about = f"{report.info.model}, {report.info.device}, {report.info.dtype}"
    if report.info.synthetic_acceptance is not None:
        about += f", synthetic acceptance {report.info.synthetic_acceptance:g}"
    if len(report.arms) > 2:
        lines = {"gemma": report.overall.own, report.peer or "": report.overall.peers}
        by_length = {name: _points(arms, _draft_tokens) for name, arms in lines.items() if arms}
        found.append(Chart(f"tokens/s over draft tokens: {about}", "draft tokens", by_length))
    if len(report.categories) > 1 and report.by_context:
        found.append(Chart(f"tokens/s over context: {about}", "tokens of context", _over_context(report)))
    return found


def _over_context(report: Report) -> dict[str, tuple[Point, ...]]:
    everything = (*report.overall.own, *report.overall.peers)
    lines = {}
    for arm in (figures.arm for figures in everything):
        compared = [f for c in report.categories.values() for f in (*c.own, *c.peers) if f.arm == arm]
        lines[arm.name] = _points(compared, lambda figures: round(figures.prompt_tokens))
    return lines


def _points(arms: Sequence[ArmFigures], x: Callable[[ArmFigures], int]) -> tuple[Point, ...]:
    return tuple(Point(x(figures), figures.tokens_per_second) for figures in arms if figures.tokens_per_second)


def _draft_tokens(figures: ArmFigures) -> int:
    return figures.arm.drafting.draft_tokens


def bars(chart: Chart) -> RenderableType:
    """The chart as rows of bars, as many lines under each x as there are names."""
    from rich.table import Table

    table = Table(box=None, title=chart.title, title_justify="left", padding=(0, 1))
    table.add_column(chart.x, justify="right", style="dim")
    several = len(chart.lines) > 1
    for _ in range(3 if several else 2):
        table.add_column("")
    most = max((point.speed.median for points in chart.lines.values() for point in points), default=1.0)
    rows = sorted(
        (point.x, order, name, point.speed.median)
        for order, (name, points) in enumerate(chart.lines.items())
        for point in points
    )
    shown: int | None = None
    for x, _, name, speed in rows:
        label = "" if x == shown else str(x)
        table.add_row(label, *([name] if several else []), _bar(speed / most), f"{speed:.1f}")
        shown = x
    return table


def _bar(share: float) -> str:
    eighths = round(share * WIDTH * 8)
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")


def check_drawable(path: Path) -> None:
    """Raises UsageError where a PNG could not be written later: no matplotlib, no such folder, or a file in the way."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot {path}: only PNG is drawn; name a file that ends in .png")
    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'gemma-cli[plot]'")


def draw(shown: Sequence[Chart], path: Path) -> None:
    """Write all charts into one PNG; the whiskers reach from the slowest to the fastest run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4 * len(shown)), dpi=150, layout="constrained")
    for axes, chart in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        for name, points in chart.lines.items():
            speeds = [point.speed for point in points]
            whiskers = [[s.median - s.min for s in speeds], [s.max - s.median for s in speeds]]
            axes.errorbar(
                [p.x for p in points], [s.median for s in speeds], whiskers, label=name, marker="o", capsize=3
            )
        axes.set(title=chart.title, xlabel=chart.x, ylabel="tokens/s", ylim=(0, None))
        axes.title.set_size("medium")
        axes.legend()
    figure.savefig(path, format="png")
