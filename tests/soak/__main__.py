"""Run the long trials behind docs/reliability.md: `python -m tests.soak [NAME ...] [--scale X] [--json FILE]`.

Each module in a subfolder holds one trial: `PROMISE`, a sentence, and `trial(scale) -> Outcome`. At scale 1 a trial
tries as many inputs as docs/reliability.md says. A failed trial does not stop the rest; the exit code is 1 then.
"""

import argparse
import importlib
import json
import pkgutil
import sys
import time
import traceback
from pathlib import Path

from tests.soak.outcome import Outcome

HERE = Path(__file__).parent


def trials() -> dict[str, str]:
    """Return the trials: the name of each and its module, sorted by name."""
    folders = [path for path in HERE.iterdir() if path.is_dir()]
    return {
        module.name: f"tests.soak.{folder.name}.{module.name}"
        for folder in sorted(folders)
        for module in pkgutil.iter_modules([str(folder)])
    }


def run(name: str, scale: float) -> tuple[Outcome, float]:
    """Run one trial. An exception counts as its failure. Returns the outcome and the seconds it took."""
    started = time.monotonic()
    try:
        outcome: Outcome = importlib.import_module(trials()[name]).trial(scale)
    except Exception:
        outcome = Outcome(0, [traceback.format_exc()])
    return outcome, time.monotonic() - started


def main() -> int:
    """Run the trials asked for, print a line for each, and return the exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(sorted(trials()))}")
    options.add_argument("--scale", type=float, default=1.0, help="share of the inputs to try (default 1)")
    options.add_argument("--json", type=Path, help="write the outcomes to this file too")
    asked = options.parse_args()
    rows = []
    for name in asked.names or sorted(trials()):
        outcome, seconds = run(name, asked.scale)
        line = f"{name}: {outcome.tried} tried, {len(outcome.failures)} failed, {seconds:.0f} s. {outcome.figures}"
        print(line.rstrip())
        for failure in outcome.failures[:5]:
            print(f"  {failure}", file=sys.stderr)
        rows.append({"name": name, "tried": outcome.tried, "failed": len(outcome.failures), "seconds": seconds})
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["failed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
