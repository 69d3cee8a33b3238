"""The figures of a bench as a table that says what it shows, and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gemma_cli.benchmark.figures import ArmFigures, Report, speedup
from gemma_cli.events import Speculation

if TYPE_CHECKING:
    from rich.console import RenderableType

SHORT_REPLY = 32
"""Tokens; below that a reply's speed is mostly noise."""

RESTLESS = 1.25
"""Fastest over slowest run from which the machine was busy with something else."""

FEWEST_RUNS = 5


def remarks(report: Report) -> list[str]:
    """What the figures say, and what to mistrust in them; one sentence or two each."""
    said = []
    if report.speedup is not None:
        said.append(_verdict(report.speedup))
    if report.divergence:
        found = report.divergence
        said.append(
            f"The texts differ: {found.arm}, run {found.run}, at character {found.character} of the reply to "
            f"{found.prompt[:40]!r}: {found.expected!r} became {found.got!r}. That is a bug, please report it."
        )
    elif len(report.arms) > 1:
        said.append("All texts are equal, drafted or not, in every run.")
    tokens = min((figures.tokens for figures in report.arms), default=0.0)
    if tokens < SHORT_REPLY:
        said.append(f"The replies are short ({tokens:.0f} tokens on average): ask for longer ones to trust the speeds.")
    if any(f.tokens_per_second and f.tokens_per_second.max > RESTLESS * f.tokens_per_second.min for f in report.arms):
        said.append("The runs differ by more than a quarter: close other programs, or give more --runs.")
    if report.runs < 5:
        said.append(
            f"Medians of {report.runs} run{'s' if report.runs > 1 else ''} say little: 5 is the least to go by."
        )
    return said


def _verdict(speedup: float) -> str:
    if speedup >= 1.05:
        return f"Speculative decoding is {speedup:.2f} times as fast as plain decoding here."
    if speedup > 0.95:
        return f"Speculative decoding makes no difference here ({speedup:.2f} times)."
    return f"Speculative decoding is slower here ({speedup:.2f} times): use --draft-tokens 0, or try fewer."


def renderables(report: Report) -> list[RenderableType]:
    """The tables, with a line under each that says what its columns are."""
    from rich.text import Text

    tables: list[RenderableType] = [
        _speed_table(report),
        Text(
            "Decode speed: all tokens but the first of each reply, over the time they took; median of the runs. "
            "TTFT: time to first token, from a cold prompt.\n",
            style="dim",
        ),
    ]
    drafting = [figures for figures in report.arms if figures.speculation.drafted]
    if drafting:
        tables += [
            _acceptance_table(report),
            Text(
                "Each target pass checks the drafted tokens at once and adds one of its own. Accepted: drafts kept of "
                "drafts made. Length: tokens gained by a pass that had a draft. At 1, 2, …: share kept at that place "
                "of the draft.\n",
                style="dim",
            ),
        ]
    return [*tables, *(Text(remark) for remark in remarks(report))]


def _speed_table(report: Report) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("tokens/s")
    for figures in report.arms:
        table.add_column(figures.arm.name, justify="right")
    table.add_column("speed-up", justify="right")
    if len(report.categories) > 1:
        for category, arms in report.categories.items():
            table.add_row(category, *(_median(figures) for figures in arms), _times(speedup(arms)))
        table.add_section()
    table.add_row("all", *(_median(figures) for figures in report.arms), _times(report.speedup), style="bold")
    table.add_row("slowest to fastest run", *(_range(figures) for figures in report.arms), "")
    table.add_row("TTFT", *(_milliseconds(figures.ttft_s) for figures in report.arms), "")
    return table


def _acceptance_table(report: Report) -> RenderableType:
    from rich import box
    from rich.table import Table

    overall = report.arms[-1].speculation
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "accepted", "length", *(f"at {i}" for i in range(1, len(_positions(overall)) + 1))):
        table.add_column(heading, justify="right" if heading else "left")
    rows = {name: arms[-1].speculation for name, arms in report.categories.items()}
    for name, speculation in (rows if len(rows) > 1 else {}).items():
        table.add_row(name, *_acceptance(speculation))
    if len(rows) > 1:
        table.add_section()
    table.add_row("all", *_acceptance(overall), style="bold")
    return table


def _acceptance(speculation: Speculation) -> list[str]:
    return [
        _shown(speculation.acceptance_rate, "{:.0%}"),
        _shown(speculation.mean_acceptance_length, "{:.2f}"),
        *(f"{share:.0%}" for share in _positions(speculation)),
    ]


def _positions(speculation: Speculation) -> list[float]:
    return speculation.acceptance_by_position or []


def _median(figures: ArmFigures) -> str:
    return _shown(figures.tokens_per_second, "{0.median:.1f}")


def _range(figures: ArmFigures) -> str:
    return _shown(figures.tokens_per_second, "{0.min:.1f} … {0.max:.1f}")


def _milliseconds(seconds: float | None) -> str:
    return _shown(seconds and seconds * 1000, "{:.0f} ms")


def _times(speedup: float | None) -> str:
    return _shown(speedup, "{:.2f}x")


def _shown(value: object, form: str) -> str:
    return "-" if value is None else form.format(value)


def as_object(report: Report, speculation: Callable[[Speculation, int], dict[str, Any] | None]) -> dict[str, Any]:
    """The object `bench --json` prints; `speculation` writes those figures as every command does."""
    return {
        "model": report.info.model,
        "device": report.info.device,
        "dtype": report.info.dtype,
        "quantize": None,
        "seed": report.seed,
        "runs": report.runs,
        "arms": [_arm_object(figures, speculation) for figures in report.arms],
        "speedup": None if report.speedup is None else round(report.speedup, 3),
        "texts_equal": report.divergence is None if len(report.arms) > 1 else None,
        "first_divergence": vars(report.divergence) if report.divergence else None,
        "peer": None,
        "ratio_to_peer": None,
        "round_efficiency": None,
    }


def _arm_object(
    figures: ArmFigures, speculation: Callable[[Speculation, int], dict[str, Any] | None]
) -> dict[str, Any]:
    speed, draft_tokens = figures.tokens_per_second, figures.arm.drafting.draft_tokens
    return {
        "name": figures.arm.name,
        "draft_tokens": draft_tokens,
        "tokens_per_second": {key: round(value, 2) for key, value in vars(speed).items()} if speed else None,
        "ttft_s": None if figures.ttft_s is None else round(figures.ttft_s, 4),
        "speculation": speculation(figures.speculation, draft_tokens),
    }
