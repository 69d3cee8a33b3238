"""Tables of a bench's figures, with explanations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gemma_cli.benchmark.figures import ArmFigures, Comparison, Report, ratio
from gemma_cli.benchmark.remarks import remarks
from gemma_cli.core.events import Speculation

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SPEED = (
    "Decode speed: tokens per second after the first token of each reply, as the median of the runs. "
    "TTFT: time to the first token, without cached prompts."
)
EFFICIENCY = " Efficiency: bytes of memory read, as a share of what the memory bandwidth below allows in the same time."
ACCEPTANCE = (
    "Each pass of the model verifies all drafted tokens and adds one token. Accepted: share of the drafted tokens that "
    "the model accepts. Length: tokens that a pass with a draft adds. At 1, 2, …: share accepted at this position of "
    "the draft."
)
MANY_ARMS = 3
"""Arms of ours from which they are rows, not columns."""


def renderables(report: Report) -> list[RenderableType]:
    """Return the tables, with an explanation of the columns under each."""
    from rich.text import Text

    def note(text: str) -> Text:
        return Text(f"{text}\n", style="dim")

    known = any(figures.round_efficiency is not None for figures in report.arms)
    speed = note(SPEED + (EFFICIENCY if known else ""))
    tables: list[RenderableType] = []
    if len(report.arms) >= MANY_ARMS:
        several = len(report.categories) > 1
        for name, compared in (report.categories if several else {}).items():
            tables.append(_length_table(report, compared, name))
        tables += [_length_table(report, report.overall, "all" if several else ""), speed]
    else:
        tables += [_speed_table(report), speed]
    if len(report.arms) < MANY_ARMS and any(figures.speculation.drafted for figures in report.arms):
        tables += [_acceptance_table(report), note(ACCEPTANCE)]
    return [*tables, *(Text(remark) for remark in remarks(report))]


def _table(report: Report, name: str = "") -> Table:
    """An empty one, under a heading that says so where acceptance is made up."""
    from rich import box
    from rich.table import Table

    chance = report.info.synthetic_acceptance
    made_up = "" if chance is None else f"drafts are accepted at random with probability {chance:g}"
    title = "; ".join(part for part in (name, made_up) if part)
    return Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left")


def _speed_table(report: Report) -> Table:
    """Categories by arms."""
    everything = report.overall
    table = _table(report)
    table.add_column("tokens/s")
    for figures in everything.own:
        table.add_column(figures.arm.name, justify="right")
    table.add_column("speed-up", justify="right")
    for figures in everything.peers:
        table.add_column(figures.arm.name.replace(" ", "\n", 1), justify="right")
    if everything.peers:
        table.add_column("ours to\nstock", justify="right")
    if len(report.categories) > 1:
        for category, compared in report.categories.items():
            table.add_row(category, *_speeds(compared))
        table.add_section()
    table.add_row("all", *_speeds(everything), style="bold")
    table.add_row("slowest run", *_spread_out(everything, lambda f: _shown(f.tokens_per_second, "{0.min:.1f}")))
    table.add_row("fastest run", *_spread_out(everything, lambda f: _shown(f.tokens_per_second, "{0.max:.1f}")))
    table.add_row("TTFT", *_spread_out(everything, lambda figures: _milliseconds(figures.ttft_s)))
    if any(figures.round_efficiency is not None for figures in everything.own):
        table.add_row("efficiency", *_spread_out(everything, lambda f: _shown(f.round_efficiency, "{:.0%}")))
    return table


def _speeds(compared: Comparison) -> list[str]:
    cells = [*map(_median, compared.own), _times(compared.speedup), *map(_median, compared.peers)]
    ours = compared.best or compared.plain
    return [*cells, _times(ratio(ours, compared.peer_of(ours)))] if compared.peers else cells


def _spread_out(compared: Comparison, cell: Callable[[ArmFigures], str]) -> list[str]:
    """Return a cell for every arm, and empty ones under the ratios."""
    cells = [*map(cell, compared.own), "", *map(cell, compared.peers)]
    return [*cells, ""] if compared.peers else cells


def _length_table(report: Report, compared: Comparison, name: str) -> Table:
    """Return one row for each draft length."""
    table = _table(report, name)
    known = any(figures.round_efficiency is not None for figures in report.arms)
    headings = ["drafts", "tokens/s", "spread", "times\nplain", "accepted", "length"]
    headings += ["effi-\nciency"] if known else []
    headings += ["stock", "ours to\nstock"] if compared.peers else []
    for heading in headings:
        table.add_column(heading, justify="right")
    for figures in compared.own:
        peer = compared.peer_of(figures)
        cells = [_median(figures), _spread(figures), _times(ratio(figures, compared.plain))]
        cells += _acceptance(figures.speculation)[:2]
        cells += [_shown(figures.round_efficiency, "{:.0%}")] if known else []
        cells += [_median(peer) if peer else "-", _times(ratio(figures, peer))] if compared.peers else []
        style = "bold" if figures is compared.best else ""
        table.add_row(str(figures.arm.drafting.draft_tokens), *cells, style=style)
    return table


def _acceptance_table(report: Report) -> Table:
    table = _table(report)
    best = [figures for figures in report.arms if figures.speculation.drafted][-1]
    positions = len(best.speculation.acceptance_by_position or [])
    for heading in ("", "accepted", "length", *(f"at {i}" for i in range(1, positions + 1))):
        table.add_column(heading, justify="right" if heading else "left")
    if len(report.categories) > 1:
        for name, compared in report.categories.items():
            table.add_row(name, *_acceptance(compared.own[-1].speculation))
        table.add_section()
    table.add_row("all", *_acceptance(best.speculation), style="bold")
    for peer in report.overall.peers:
        if peer.speculation.drafted:
            table.add_row(peer.arm.name, *_acceptance(peer.speculation))
    return table


def _acceptance(speculation: Speculation) -> list[str]:
    return [
        _shown(speculation.acceptance_rate, "{:.0%}"),
        _shown(speculation.mean_acceptance_length, "{:.2f}"),
        *(f"{share:.0%}" for share in speculation.acceptance_by_position or []),
    ]


def _median(figures: ArmFigures) -> str:
    return _shown(figures.tokens_per_second, "{0.median:.1f}")


def _spread(figures: ArmFigures) -> str:
    """Half the way from the slowest to the fastest run, as a share of the median."""
    speed = figures.tokens_per_second
    return "-" if speed is None else f"±{(speed.max - speed.min) / 2 / speed.median:.0%}"


def _milliseconds(seconds: float | None) -> str:
    return _shown(seconds and seconds * 1000, "{:.0f} ms")


def _times(speedup: float | None) -> str:
    return _shown(speedup, "{:.2f}x")


def _shown(value: object, form: str) -> str:
    return "-" if value is None else form.format(value)
