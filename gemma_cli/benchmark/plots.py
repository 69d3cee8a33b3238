"""Curves of tokens/s over draft length and context, and of acceptance over position: bars in the terminal, PNG, SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_cli.benchmark.figures import ArmFigures, Report, Spread
from gemma_cli.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

INK = "#010203"
"""Stands for the colour of the page's text in a drawing: dark on a light page, light on a dark one."""

WIDTH = 40  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Point:
    x: int
    speed: Spread


@dataclass(frozen=True)
class Chart:
    """tokens/s over `x`, unless y names something else: one line of points for each name.

    form: of a value in the terminal. ticks: what to write for x = 0, 1, ...; drawn as bars then.
    """

    title: str
    x: str
    lines: dict[str, tuple[Point, ...]]
    y: str = "tokens/s"
    form: str = "{:.1f}"
    ticks: tuple[str, ...] = ()


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


def acceptance(report: Report) -> Chart | None:
    """Return the share of drafts accepted at each position, a line for each of our arms; None where none drafted."""
    lines = {
        figures.arm.name: tuple(
            Point(position, Spread(share, share, share))
            for position, share in enumerate(figures.speculation.acceptance_by_position or (), start=1)
        )
        for figures in report.arms
        if figures.speculation.drafted
    }
    title = "share of accepted drafts at each position of the draft"
    return Chart(title, "position", lines, "share accepted", "{:.0%}") if lines else None


def by_category(report: Report) -> Chart:
    """Return tokens/s of every arm for each category of prompts."""
    arms = [figures.arm for figures in (*report.overall.own, *report.overall.peers)]
    lines = {
        arm.name: tuple(
            Point(number, figures.tokens_per_second)
            for number, compared in enumerate(report.categories.values())
            for figures in (*compared.own, *compared.peers)
            if figures.arm == arm and figures.tokens_per_second
        )
        for arm in arms
    }
    return Chart("tokens/s for each category of prompts", "", lines, ticks=tuple(report.categories))


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
        table.add_row(label, *([name] if several else []), _bar(speed / most), chart.form.format(speed))
        shown = x
    return table


def _bar(share: float) -> str:
    eighths = round(share * WIDTH * 8)
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")


def check_drawable(path: Path, option: str = "--plot", suffix: str = ".png") -> None:
    """Raises UsageError where a plot could not be written later: another kind of file, or no matplotlib."""
    if path.suffix.lower() != suffix:
        raise UsageError(
            f"{option} {path}: {option} writes only {suffix[1:].upper()}; give a file name that ends in {suffix}"
        )
    if find_spec("matplotlib") is None:
        raise UsageError(f"{option} needs matplotlib, which is not installed: pip install 'gemma-cli[plot]'")


def draw(shown: Sequence[Chart], path: Path) -> None:
    """Write all charts into one PNG; the whiskers reach from the slowest to the fastest run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4 * len(shown)), dpi=150, layout="constrained")
    for axes, chart in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        _draw_on(axes, chart)
    figure.savefig(path, format="png")


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element; text stays text, in the fonts and the colour of the page it stands in."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = StringIO()
    colours = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    fonts = {"svg.fonttype": "none", "svg.hashsalt": chart.title, "font.family": "sans-serif"}
    with rc_context({**fonts, **colours, "legend.facecolor": "none", "legend.edgecolor": "none"}):
        figure = Figure(figsize=(4.4, 3.2), layout="constrained")
        _draw_on(figure.subplots(), replace(chart, title=""))
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _draw_on(axes: Any, chart: Chart) -> None:
    for number, (name, points) in enumerate(chart.lines.items()):
        speeds = [point.speed for point in points]
        whiskers = [[s.median - s.min for s in speeds], [s.max - s.median for s in speeds]]
        if chart.ticks:
            width = 0.8 / len(chart.lines)
            places = [p.x + (number + 0.5) * width - 0.4 for p in points]
            axes.bar(places, [s.median for s in speeds], width * 0.9, yerr=whiskers, label=name, capsize=2)
        else:
            size = max(9 - 2 * number, 3)  # so that a line shows below one that runs over it
            medians = [s.median for s in speeds]
            axes.errorbar([p.x for p in points], medians, whiskers, label=name, marker="o", markersize=size, capsize=3)
    axes.set(title=chart.title, xlabel=chart.x, ylabel=chart.y, ylim=(0, None))
    if chart.ticks:
        axes.set_xticks(range(len(chart.ticks)), chart.ticks)
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.title.set_size("medium")
    axes.legend(fontsize="small")
