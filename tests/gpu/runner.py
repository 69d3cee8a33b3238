"""One step in a process of its own, ended with all it started when its time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["ok", "failed", "too long", "no time"]


@dataclass(frozen=True)
class Step:
    """command: prints a JSON object as its last line, or as its output; its exit code is 0 where all is well."""

    name: str
    purpose: str
    command: tuple[str, ...]
    limit_s: float


@dataclass
class Result:
    """figures: what the step printed; error: the end of its output where it failed."""

    name: str
    purpose: str
    command: str
    verdict: Verdict
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    def fields(self) -> dict[str, Any]:
        return asdict(self)


def run(step: Step, out: Path, limit_s: float) -> Result:
    """Run a step for at most `limit_s` seconds; its output goes to out/NAME.txt."""
    command = " ".join(step.command)
    if limit_s < 1:
        return Result(step.name, step.purpose, command, "no time", 0.0)
    began = time.monotonic()
    file = out / f"{step.name}.txt"
    with file.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            step.command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
        try:
            output, _ = process.communicate(timeout=limit_s)
            verdict: Verdict = "failed" if process.returncode else "ok"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            verdict = "too long"
    with file.open("a", encoding="utf-8") as both:
        both.write(output)
    figures = last_object(output)
    if verdict == "ok" and figures is None:
        verdict = "failed"
    tail = file.read_text(encoding="utf-8")[-2000:] if verdict != "ok" else ""
    return Result(step.name, step.purpose, command, verdict, time.monotonic() - began, figures or {}, tail)


def last_object(output: str) -> dict[str, Any] | None:
    """Return the JSON object that an output is, or ends with; None where there is none."""
    lines = output.strip().splitlines()
    for text in (output, lines[-1] if lines else ""):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None
