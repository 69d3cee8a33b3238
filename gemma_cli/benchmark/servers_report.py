"""The figures of servers under load: as an object for --json, and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from gemma_cli.benchmark.servers import Difference, Level, ServerReport, acceptance, between, spread
from gemma_cli.core.messages import Sampling

if TYPE_CHECKING:
    from rich.console import RenderableType

ABOUT = (
    "TTFT: time to the first token. TPOT: time per token after the first. TTFT and TPOT are given as the median and "
    "the 95th percentile of all replies. tokens/s: tokens of all replies divided by the time of a run, as the median "
    "of the runs. Only the first run starts without cached prompts. Accepted: share of the drafted tokens that the "
    "model accepted, as the server reports."
)


def as_object(reports: Sequence[ServerReport], sampling: Sampling, runs: int) -> dict[str, Any]:
    """Return the object of --json. A figure that a server does not give is null."""
    differs = between(reports)
    return {
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "runs": runs,
        "servers": [
            {
                "model": report.info.model,
                "device": report.info.device,
                "exact": report.info.exact,
                "levels": [_level(level) for level in report.levels],
                "texts_equal": report.differs is None,
                "first_divergence": _divergence(report.differs),
            }
            for report in reports
        ],
        "texts_equal": differs is None if len(reports) > 1 else None,
        "first_divergence": _divergence(differs),
    }


def renderables(reports: Sequence[ServerReport]) -> list[RenderableType]:
    """Return a table for each server, and what was found of the texts."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown: list[RenderableType] = []
    for report in reports:
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 1, 0, 0),  # all columns fit in 80
            title=Text(f"{report.info.model}, {report.info.device}"),
            title_justify="left",
        )
        for heading in ("at once", "requests", "TTFT ms", "p95", "TPOT ms", "p95", "tokens/s", "accepted", "length"):
            table.add_column(heading, justify="right")
        for level in report.levels:
            table.add_row(*_row(level))
        shown += [table, Text()]
    shown.append(Text(f"{ABOUT}\n", style="dim"))
    return [*shown, Text("\n".join(_findings(reports)))]


def _findings(reports: Sequence[ServerReport]) -> list[str]:
    lines = []
    for report in reports:
        if report.differs:
            lines.append(f"{report.info.device}: the reply to a prompt changed with the load. {_told(report.differs)}")
        else:
            lines.append(f"{report.info.device}: every prompt had the same reply at every load.")
    if len(reports) > 1:
        found = between(reports)
        lines.append(f"The servers differ. {_told(found)}" if found else "Both servers wrote the same texts.")
    return lines


def _told(found: Difference) -> str:
    start = max(0, found.at - 20)
    ours, theirs = (repr(text[start : found.at + 20]) for text in found.texts)
    return (
        f"The first difference is at character {found.at} of the "
        f"reply to {found.prompt[:60]!r}: {ours} became {theirs}."
    )


def _level(level: Level) -> dict[str, Any]:
    rate, length = acceptance(level)
    speeds = level.speeds
    return {
        "concurrency": level.concurrency,
        "requests": len(level.turns),
        "ttft_s": _rounded(spread(level.ttft_s)),
        "tpot_s": _rounded(spread(level.tpot_s)),
        "tokens_per_second": _rounded({"median": median(speeds), "min": min(speeds), "max": max(speeds)})
        if any(speeds)
        else None,
        "acceptance_rate": None if rate is None else round(rate, 4),
        "mean_acceptance_length": None if length is None else round(length, 4),
    }


def _rounded(values: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if values is None else {key: round(value, 5) for key, value in values.items()}


def _divergence(found: Difference | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"prompt": found.prompt, "character": found.at, "concurrency": found.concurrency, "texts": list(found.texts)}


def _row(level: Level) -> list[str]:
    rate, length = acceptance(level)
    cells = [str(level.concurrency), str(len(level.turns))]
    for values in (spread(level.ttft_s), spread(level.tpot_s)):
        cells += [f"{values[key] * 1000:.1f}" if values else "-" for key in ("median", "p95")]
    cells.append(f"{median(level.speeds):.1f}" if any(level.speeds) else "-")
    return [*cells, "-" if rate is None else f"{rate:.0%}", "-" if length is None else f"{length:.2f}"]
