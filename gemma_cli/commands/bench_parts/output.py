"""Output of a bench: tables, bars, JSON, plots, the page, replies, and progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, TypeVar

import typer

from gemma_cli.benchmark.figures import Report
from gemma_cli.benchmark.objects import as_object, sample
from gemma_cli.benchmark.plots import Chart, acceptance, charts, check_drawable, draw
from gemma_cli.benchmark.runner import Measurement
from gemma_cli.common.notices import notice
from gemma_cli.common.options import OUTPUT, Json, Quiet
from gemma_cli.core.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class BenchOutputOptions:
    """Output in addition to the figures."""

    samples: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write each reply to this file as one line of JSON.", rich_help_panel=OUTPUT),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Plot the results of --sweep or --context into this PNG file.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write the results, plots, machine and command as one HTML page without external files.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    as_json: Json = False
    quiet: Quiet = False

    def check(self) -> None:
        """Raises UsageError for files that could not be written at the end, before anything is measured."""
        if self.plot:
            check_drawable(self.plot)
        if self.report:
            check_drawable(self.report, "--report", ".html")
        for path in (self.samples, self.plot, self.report):
            if path and path.exists():
                raise InputError(f"{path}: the file already exists; name another file")
            if path and not path.parent.is_dir():
                raise InputError(f"{path}: the folder does not exist; create the folder first")


def written_to(measured: Iterable[Measurement], path: Path, stack: ExitStack) -> Iterator[Measurement]:
    """Yield the same replies, and write each to `path`."""
    file = stack.enter_context(path.open("x", encoding="utf-8"))

    def written() -> Iterator[Measurement]:
        for measurement in measured:
            file.write(json.dumps(sample(measurement), ensure_ascii=False) + "\n")
            file.flush()
            yield measurement

    return written()


def write_report(report: Report, kept: BenchOutputOptions, command: str) -> None:
    if kept.report:
        from gemma_cli.benchmark.page import write_page
        from gemma_cli.views import json as view

        write_page(report, as_object(report, view.speculation_object), command, kept.report)


def show(
    report: Report, kept: BenchOutputOptions, fields: dict[str, Any] | None = None, first: Sequence[Any] = ()
) -> None:
    """Print the figures. fields, first: what goes before the others in JSON, and in text."""
    if kept.as_json:
        from gemma_cli.views import json as view

        view.write((fields or {}) | as_object(report, view.speculation_object), sys.stdout)
    else:
        from gemma_cli.benchmark.plots import bars
        from gemma_cli.benchmark.report import renderables
        from gemma_cli.views.console import terminal

        drawn = [bars(chart) for chart in _charts(report)]
        terminal(sys.stdout).print(*first, *drawn, *renderables(report), sep="\n", soft_wrap=False)
    if kept.plot:
        if shown := _charts(report):
            draw(shown, kept.plot)
        elif not kept.quiet:
            notice(
                f"{kept.plot}: no plot is drawn; a plot needs three "
                "draft lengths in --sweep, or two lengths in --context"
            )


def _charts(report: Report) -> list[Chart]:
    """The curves of a sweep or of contexts, and the acceptance that goes with them."""
    curves, accepted = charts(report), acceptance(report)
    return [*curves, accepted] if curves and accepted else curves


def watched(measured: Iterable[T], total: int, warm_up: int, unit: str = "replies") -> Iterator[T]:
    """Yield the same replies with progress on stderr: a line that is updated on a terminal, else one estimate."""
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import counting

    began = monotonic()
    with counting(terminal(sys.stderr), "measuring", total, unit) as advance:
        for number, measurement in enumerate(measured, start=1):
            advance(1)
            if number == warm_up and not sys.stderr.isatty():
                left = (monotonic() - began) / warm_up * (total - warm_up)
                notice(f"the warm-up is done; measuring {total - warm_up} {unit} takes about {left:.0f} s")
            yield measurement
