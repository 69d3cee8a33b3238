"""Check and measure everything on a GPU: `python -m tests.gpu [NAME ...] [--device cuda] [--out FOLDER]`.

Each step runs in a process of its own, with its own time limit, and a failure does not stop the rest. After each step
FOLDER/gpu.json and FOLDER/gpu.md are written anew, so that a run that is cut off loses nothing; FOLDER/NAME.txt holds
the output of a step. The exit code is 1 if a step failed. `--device cpu` runs the same steps in small, to try the
command itself.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from tests.gpu import plan, tables
from tests.gpu.runner import Result, run

TOTAL = 1200
"""Seconds that all steps together may take."""


def main(arguments: list[str] | None = None) -> int:
    """Run the steps asked for, print a line for each, and return the exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help="default: all steps; --list shows them")
    options.add_argument("--device", default="cuda", help="cuda, cuda:1 ..., or cpu for the same steps in small")
    options.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for the results")
    options.add_argument("--list", action="store_true", help="print the steps and their limits")
    asked = options.parse_args(arguments)
    steps = plan.steps(asked.device, small=not asked.device.startswith("cuda"))
    if unknown := set(asked.names) - {step.name for step in steps}:
        options.error(f"no such step: {', '.join(sorted(unknown))}; --list shows them")
    if asked.list:
        for step in steps:
            print(f"{step.name:20} {step.limit_s:4} s  {step.purpose}")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    started = datetime.now()
    results: list[Result] = []
    for step in steps:
        if asked.names and step.name not in asked.names:
            continue
        left = TOTAL - (datetime.now() - started).total_seconds()
        result = run(step, asked.out, min(step.limit_s, left))
        results.append(result)
        tables.write(results, asked.out, asked.device, started)
        print(f"{result.verdict:8} {result.seconds:6.1f} s  {result.name}: {tables.brief(result)}", flush=True)
    return int(any(result.verdict != "ok" for result in results))


if __name__ == "__main__":
    sys.exit(main())
