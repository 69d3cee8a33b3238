"""Tokens/s of gemma's own choice of threads next to fixed settings, on an idle machine and on a busy one.

    python -m tests.benchmark.threads MODEL [--load idle] [--load together] [--load apart] [--rounds 3] [--seconds 4]

Each setting is a process of its own that stays loaded; they take turns of `--seconds`, plain and with drafts. A busy
machine has six busy loops more. Linux shares processors among sessions first (autogroup), so it matters where they
run: `together` in the session of the model, as jobs of one shell or in a container; `apart` each in a session of its
own, as programs in other terminals. The last line of each load is the ratio of the default to the best setting.

A turn in which other programs took more than a twentieth of the machine is repeated, up to `--tries` times; one that
still was disturbed is marked with *. Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import monotonic
from typing import Annotated

import typer

BUSY = 6
QUESTION = "Count from 1 to 100."
WARM_UP_S = 2.0
DISTURBED = 0.05
"""Share of the machine that programs other than the benchmark's may take."""
ACCEPTANCE = 0.7
"""What a drafter that only has a model's shape is taken to hit."""

BUSY_LOOP = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
"""It ends with the benchmark, however that ends."""

LOADS = ("idle", "together", "apart")
MODES = {"plain": 0, "drafted": 8}


@dataclass
class Setting:
    """A name, and what the environment says of threads."""

    name: str
    environment: dict[str, str]


def settings(cores: int) -> list[Setting]:
    """The default, and each number of threads up to the cores as a user would set it; both ways of waiting."""
    fixed = [Setting("1 thread", {"OMP_NUM_THREADS": "1"})]
    for count in sorted({2, cores} - {1}):
        fixed.append(Setting(f"{count} sleeping", {"OMP_NUM_THREADS": str(count)}))
        fixed.append(Setting(f"{count} spinning", {"OMP_NUM_THREADS": str(count), "OMP_WAIT_POLICY": "active"}))
    return [Setting("default", {}), *fixed]


class Worker:
    """A process that has a model loaded under one setting."""

    def __init__(self, setting: Setting, model: str) -> None:
        free = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
        self.setting = setting
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name if __spec__ else "tests.benchmark.threads", model, "--worker"],
            env={**free, **setting.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, mode: str, seconds: float) -> float:
        """Tokens/s over so many seconds."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{mode} {seconds}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def work(model: str) -> None:
    """Answer on standard output each line of standard input: a mode and seconds, then the tokens/s there were."""
    from gemma_cli.cli import _prepare

    _prepare()
    from gemma_cli.core.engine import EngineSpec
    from gemma_cli.core.events import Progress
    from gemma_cli.core.messages import GREEDY, Drafting, Request, ask
    from gemma_cli.engines.local.opening import open_local

    synthetic = model.startswith("synthetic:")
    engine = open_local(EngineSpec(model, synthetic_acceptance=ACCEPTANCE if synthetic else None))
    for line in sys.stdin:
        mode, seconds = line.split()
        request = Request(ask(QUESTION), GREEDY, Drafting(MODES[mode], adaptive=True))
        tokens, spent = 0, 0.0
        while spent < float(seconds):
            usage = timings = None
            events = engine.stream(request)
            for event in events:
                if isinstance(event, Progress):
                    usage, timings = event.usage, event.timings
                    if spent + (timings.decode_s or 0.0) > float(seconds):
                        break
            events.close()
            assert usage
            assert timings
            tokens += usage.completion_tokens - 1  # decode_s begins with the first
            spent += timings.decode_s or 1e-9
        print(tokens / spent, flush=True)


class Others:
    """How much of the machine other programs take, by the kernel's counts."""

    def __init__(self, mine: list[int]) -> None:
        self._mine = [Path(f"/proc/{pid}/stat") for pid in mine]
        self._began, self._at = monotonic(), self._ticks()

    def share(self) -> float:
        ticks = (os.cpu_count() or 1) * (monotonic() - self._began) * os.sysconf("SC_CLK_TCK")
        return (self._ticks() - self._at) / ticks

    def _ticks(self) -> int:
        user, nice, system = Path("/proc/stat").read_text().split()[1:4]
        mine = [stat.read_text().rpartition(")")[2].split()[11:13] for stat in self._mine]
        return int(user) + int(nice) + int(system) - sum(int(one) for times in mine for one in times)


@contextmanager
def busy_loops(load: str) -> Iterator[list[int]]:
    """Processes that compute all the time: their ids."""
    count = 0 if load == "idle" else BUSY
    loops = [
        subprocess.Popen([sys.executable, "-c", BUSY_LOOP], start_new_session=load == "apart") for _ in range(count)
    ]
    try:
        yield [loop.pid for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def main(
    model: str,
    load: Annotated[list[str] | None, typer.Option()] = None,
    rounds: int = 3,
    seconds: float = 4.0,
    tries: int = 5,
    only: Annotated[list[str] | None, typer.Option(help="Names of settings; else all.")] = None,
    worker: bool = False,
) -> None:
    if worker:
        return work(model)
    chosen = [each for each in settings(len(os.sched_getaffinity(0))) if not only or each.name in only]
    workers = [Worker(setting, model) for setting in chosen]
    try:
        for each in workers:
            each.ask("plain", 0.1)
        for kind in load or LOADS:
            with busy_loops(kind) as loops:
                compare(f"{model} | {kind}", workers, loops, rounds, seconds, tries)
    finally:
        for each in workers:
            each.close()


def compare(title: str, workers: list[Worker], loops: list[int], rounds: int, seconds: float, tries: int) -> None:
    mine = [os.getpid(), *loops, *(each.process.pid for each in workers)]
    for each in workers:
        each.ask("plain", WARM_UP_S)
    for mode in MODES:
        rates: dict[str, list[float]] = {each.setting.name: [] for each in workers}
        marks: dict[str, list[str]] = {each.setting.name: [] for each in workers}
        for _ in range(rounds):
            for each in workers:
                for _ in range(tries):
                    others = Others(mine)
                    rate = each.ask(mode, seconds)
                    disturbed = others.share() > DISTURBED
                    if not disturbed:
                        break
                rates[each.setting.name].append(rate)
                marks[each.setting.name].append(f"{rate:.1f}{'*' * disturbed}")
        means = {name: mean(values) for name, values in rates.items()}
        for name, value in means.items():
            print(f"{title} | {mode} | {name} | {value:.1f} |", " ".join(marks[name]), flush=True)
        fixed = [value for name, value in means.items() if name != "default"]
        if fixed and "default" in means:
            print(f"{title} | {mode} | default to best | {means['default'] / max(fixed):.2f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
