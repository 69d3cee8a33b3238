"""A bench as one HTML file: plots, figures, the machine and the command; it loads nothing from anywhere."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from gemma_cli import __version__
from gemma_cli.benchmark.figures import ArmFigures, Report, ratio
from gemma_cli.benchmark.plots import acceptance, by_category, charts, svg
from gemma_cli.benchmark.remarks import remarks
from gemma_cli.store.atomic_write import write_together
from gemma_cli.store.models.machine import memory

TEMPLATE = "page.html.jinja"


def write_page(report: Report, figures: Mapping[str, Any], command: str, path: Path) -> None:
    """Write the page. figures: the object of --json, which stands at its end. Raises InputError."""
    write_together({path: page(report, figures, command, machine_facts(report))})


def page(report: Report, figures: Mapping[str, Any], command: str, machine: Mapping[str, str]) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, StrictUndefined

    curves, accepted = charts(report), acceptance(report)
    drawn = curves or [by_category(report)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        title=f"gemma bench: {report.info.model}",
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        command=command,
        remarks=remarks(report),
        plots=[(chart.title, svg(chart)) for chart in [*drawn, *([accepted] if accepted else [])]],
        arms=[_row(arm, report) for arm in (*report.overall.own, *report.overall.peers)],
        machine=machine,
        figures=json.dumps(figures, indent=2, ensure_ascii=False),
    )


def machine_facts(report: Report) -> dict[str, str]:
    """Return what ran, and on what."""
    info = report.info
    weights = f"{info.dtype}{f', weights in {info.quantize}' if info.quantize else ''}"
    cores = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    packages = ("torch", "transformers")
    return {
        "model": f"{info.model}, {weights}, on {info.device}",
        "drafter": info.assistant or "none",
        "kernels": info.kernels or "torch",
        "processor": f"{_processor()}, {cores}",
        "memory": f"{memory() / 1e9:.1f} GB",
        "system": platform.platform(terse=True),
        "versions": ", ".join(
            [f"gemma {__version__}", f"Python {platform.python_version()}"]
            + [f"{name} {importlib.metadata.version(name)}" for name in packages]
        ),
    }


def _processor() -> str:
    """Name the processor as the system does; on Linux platform.processor() is often empty."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _row(figures: ArmFigures, report: Report) -> dict[str, str]:
    """Return one arm as the cells of a table, by heading."""
    speed, drafts = figures.tokens_per_second, figures.speculation
    reference = report.overall.plain
    times = ratio(figures, reference) if reference else None
    return {
        "arm": figures.arm.name,
        "tokens/s": f"{speed.median:.1f}" if speed else "-",
        "slowest to fastest": f"{speed.min:.1f} to {speed.max:.1f}" if speed else "-",
        "times plain": "-" if times is None else f"{times:.2f}",
        "TTFT": "-" if figures.ttft_s is None else f"{figures.ttft_s * 1000:.0f} ms",
        "accepted": "-" if drafts.acceptance_rate is None else f"{drafts.acceptance_rate:.0%}",
        "length": "-" if drafts.mean_acceptance_length is None else f"{drafts.mean_acceptance_length:.2f}",
    }
