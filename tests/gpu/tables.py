"""The results of `python -m tests.gpu` as one JSON file and one markdown table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.gpu.runner import Result


def write(results: Sequence[Result], out: Path, device: str, started: datetime) -> None:
    """Write out/gpu.json and out/gpu.md."""
    whole = {
        "started": started.isoformat(timespec="seconds"),
        "device": device,
        "ok": all(result.verdict == "ok" for result in results),
        "steps": [result.fields() for result in results],
    }
    (out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(markdown(results, device, started), encoding="utf-8")


def markdown(results: Sequence[Result], device: str, started: datetime) -> str:
    """Return a table with a row for each step, and the ends of what failed."""
    machine = next((result.figures for result in results if result.name == "machine"), {})
    name = machine.get("gpu") or device
    lines = [
        f"`python -m tests.gpu` on {name}, {started:%Y-%m-%d}: torch {machine.get('torch', '?')}, "
        f"triton {machine.get('triton') or 'none'}.",
        "",
        "| step | result | seconds | figures |",
        "| --- | --- | --- | --- |",
        *(f"| {each.name} | {each.verdict} | {each.seconds:.0f} | {brief(each)} |" for each in results),
    ]
    for each in results:
        if each.error:
            lines += ["", f"## {each.name}: {each.verdict}", "", "```", each.error.strip(), "```"]
    return "\n".join(lines) + "\n"


def brief(result: Result) -> str:
    """Return the figures of a step in a line; of a bench, those that count."""
    figures = _bench(result.figures) if "arms" in result.figures else result.figures
    return ", ".join(f"{name} {_shown(value)}" for name, value in figures.items() if value is not None)


def _bench(figures: dict[str, Any]) -> dict[str, Any]:
    arms = {arm["name"]: arm for arm in figures["arms"]}
    speeds = {name: (arm.get("tokens_per_second") or {}).get("median") for name, arm in arms.items()}
    shares = {
        f"{name} share of bandwidth": f"{arm['round_efficiency']:.0%}"
        for name, arm in arms.items()
        if arm.get("round_efficiency")
    }
    rest = {key: figures.get(key) for key in ("speedup", "ratio_to_peer", "texts_equal")}
    return {f"{name} tokens/s": speed for name, speed in speeds.items()} | shares | rest


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items()) + ")"
    return str(value).replace("|", "/").replace("\n", " ")
