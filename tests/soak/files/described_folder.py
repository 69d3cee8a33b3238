"""A folder of 200 pictures, ten of them corrupt, described in one call, and killed at random moments.

python -m tests.soak.files.described_folder LOG ARGUMENTS...    # gemma, with a line in LOG for each load and answer
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.outcome import Outcome
from training.data import scenes

PROMISE = "a folder is described with one load and flat memory, bad pictures are named, and a kill loses nothing"

COUNT, CORRUPT, KILLS = 200, 10, 20
FLAT = 60_000_000  # bytes that a process may grow by after the 30th picture; 700 further ones take 30 MB more


def trial(scale: float) -> Outcome:
    """Describe `200 * scale` pictures, then again with 20 kills."""
    failures: list[str] = []
    count = max(40, round(COUNT * scale))
    corrupt = max(2, round(CORRUPT * scale))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder / "pictures", count, corrupt)
        grown = _whole(folder, count, corrupt, failures)
        kills = _killed(folder, count, max(4, round(KILLS * scale)), failures)
    figures = (
        f"{count - corrupt} described, {corrupt} named; grown by {grown / 1e6:.0f} MB; killed after {kills} answers."
    )
    return Outcome(count, failures, figures)


def _draw(folder: Path, count: int, corrupt: int) -> None:
    rng = random.Random(0)
    folder.mkdir()
    bad = set(rng.sample(range(count), corrupt))
    for number in range(count):
        path = folder / f"{number:03d}.{rng.choice(('png', 'jpg', 'webp'))}"
        scenes.draw(scenes.sample_scene(rng)).save(path)
        if number in bad:
            path.write_bytes(path.read_bytes()[: rng.choice((0, 40, 300))])


def _begin(folder: Path, state: str, log: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"XDG_STATE_HOME": str(folder / state), "GEMMA_MODEL": "pocket"}
    command = [sys.executable, "-m", "tests.soak.files.described_folder", str(folder / log), "describe-image"]
    return subprocess.Popen(
        [*command, str(folder / "pictures"), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _whole(folder: Path, count: int, corrupt: int, failures: list[str]) -> int:
    """One run to stdout, and one into files. Returns the bytes it grew by."""
    process = _begin(folder, "whole-state", "whole-log", "--format", "jsonl")
    sizes: list[int] = []
    told = []
    for line in process.stdout or ():
        told.append(json.loads(line))
        status = Path(f"/proc/{process.pid}/status").read_text()
        sizes.append(1024 * int(status.partition("VmRSS:")[2].split()[0]))
    said = process.communicate()[1]
    errors = said.count(str(folder / "pictures"))
    if (len(told), errors, process.returncode) != (count - corrupt, corrupt, 1):
        failures.append(f"{len(told)} descriptions, {errors} errors, exit code {process.returncode}: {said[-300:]}")
    if f"{corrupt} of {count} files failed" not in said:
        failures.append(said[-300:])
    loads = (folder / "whole-log").read_text().splitlines().count("load")
    if loads != 1:
        failures.append(f"{loads} loads")
    grown = sizes[-1] - sizes[30]
    if grown > FLAT:
        failures.append(f"grown by {grown / 1e6:.0f} MB after the 30th picture")
    _begin(folder, "whole-state", "files-log", "-o", str(folder / "whole"), "-f", "txt", "-f", "json").communicate()
    return grown


def _killed(folder: Path, count: int, kills: int, failures: list[str]) -> list[int]:
    """Kill the run into files again and again. Returns how many answers there were at each kill."""
    rng = random.Random(1)
    log = folder / "parts-log"
    log.touch()
    at = []
    wanted = [*sorted(rng.sample(range(count), kills)), None]
    for number in wanted:
        process = _begin(
            folder,
            "parts-state",
            "parts-log",
            "-o",
            str(folder / "parts"),
            "-f",
            "txt",
            "-f",
            "json",
            "--skip-existing",
        )
        while process.poll() is None and (number is None or _answers(log) < number):
            time.sleep(0.02)
        if number is not None:
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            at.append(_answers(log))
        process.communicate()
    answers = [line for line in log.read_text().splitlines() if line != "load"]
    if len(set(answers)) != len(answers):
        failures.append(f"{len(answers) - len(set(answers))} pictures were described twice")
    whole, parts = ({path.name: path.read_bytes() for path in (folder / into).iterdir()} for into in ("whole", "parts"))
    if whole != parts:
        failures.append(f"{len(whole)} files in one run, {len(parts)} in parts, or others")
    return at


def _answers(log: Path) -> int:
    return sum(line != "load" for line in log.read_text().splitlines())


def main() -> int:
    """Run `gemma`, and write a line into the log for each load and for each answer that is kept."""
    from gemma_cli.cli import run
    from gemma_cli.common import opening
    from gemma_cli.store.journal import Journal

    log = Path(sys.argv[1])
    real_open, real_add = opening.open_engine, Journal.add

    def note(line: str) -> None:
        with log.open("a") as file:
            file.write(line + "\n")

    def opened(spec):  # type: ignore[no-untyped-def]
        note("load")
        return real_open(spec)

    def add(journal, digest, turn):  # type: ignore[no-untyped-def]
        real_add(journal, digest, turn)
        note(digest)

    opening.open_engine, Journal.add = opened, add  # type: ignore[method-assign]
    return run(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
