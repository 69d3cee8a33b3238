"""Comparison of a model in different quantizations: speed, size and accuracy."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemma_cli.benchmark.figures import ArmFigures, Report, ratio, summarize
from gemma_cli.benchmark.runner import Arm, Measurement, measure
from gemma_cli.benchmark.suites import Prompt
from gemma_cli.core.engine import Engine
from gemma_cli.core.messages import Sampling
from gemma_cli.engines.measure import perplexity, weight_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType

HELD_OUT = "held_out.jsonl"
"""Questions and answers from pocket's grammar that are not in its training data."""

ABOUT = (
    "tokens/s: median of alternating runs. Weights: bytes of weights that a pass of the model reads, without embedding "
    "tables. Perplexity: measured on replies that are not in the training data; lower is better."
)


@dataclass(frozen=True)
class Column:
    """weights: bytes. perplexity: on the held-out replies, for pocket; None for others."""

    report: Report
    weights: int | None
    perplexity: float | None

    @property
    def name(self) -> str:
        return self.report.info.quantize or "as stored"


def in_turns(
    engines: Sequence[Engine], prompts: Sequence[Prompt], arms: Sequence[Arm], sampling: Sampling, runs: int
) -> Iterator[tuple[Measurement, ...]]:
    """runner.measure on each engine, a reply of every engine at a time."""
    return zip(*(measure(engine, prompts, arms, sampling, runs) for engine in engines), strict=True)


def columns(
    engines: Sequence[Engine], sampling: Sampling, measured: Sequence[tuple[Measurement, ...]]
) -> tuple[Column, ...]:
    """Sum up the results of in_turns."""
    own = zip(*measured, strict=True)
    return tuple(
        Column(summarize(engine.info, sampling, replies), weight_bytes(engine), _perplexity(engine))
        for engine, replies in zip(engines, own, strict=True)
    )


def as_object(shown: Sequence[Column], reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Build the object of --json. reports: the report of each column as an object."""
    return {
        "columns": [
            report | {"weight_bytes": column.weights, "perplexity": column.perplexity}
            for column, report in zip(shown, reports, strict=True)
        ]
    }


def renderables(shown: Sequence[Column]) -> list[RenderableType]:
    """Return a table with a column for each format, and an explanation."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for column in shown:
        table.add_column(column.name, justify="right")
    for arm in shown[0].report.arms:
        found = [_same(column, arm) for column in shown]
        table.add_row(f"{arm.arm.name}, tokens/s", *(_form(_speed(figures), "{:.1f}") for figures in found))
        table.add_row("  to the first", *(_form(ratio(figures, arm), "{:.2f}x") for figures in found), style="dim")
    table.add_row("weights, MB", *(_form(column.weights and column.weights / 1e6, "{:,.1f}") for column in shown))
    table.add_row("perplexity", *(_form(column.perplexity, "{:.3f}") for column in shown))
    kept = all(column.report.divergence is None for column in shown)
    same = (
        "In each column, all runs wrote the same texts, with and without drafts."
        if kept
        else "In at least one column, the texts differ between runs."
    )
    return [table, Text(f"{ABOUT}\n", style="dim"), Text(same)]


def held_out() -> list[tuple[str, str]]:
    """(prompt, reply)"""
    text = importlib.resources.files(__package__).joinpath(HELD_OUT).read_text(encoding="utf-8")
    entries = map(json.loads, text.splitlines())
    return [(entry["prompt"], entry["reply"]) for entry in entries]


def _perplexity(engine: Engine) -> float | None:
    return perplexity(engine, held_out()) if engine.info.model == "pocket" else None


def _same(column: Column, arm: ArmFigures) -> ArmFigures | None:
    return next((figures for figures in column.report.arms if figures.arm == arm.arm), None)


def _speed(figures: ArmFigures | None) -> float | None:
    return figures.tokens_per_second.median if figures and figures.tokens_per_second else None


def _form(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
