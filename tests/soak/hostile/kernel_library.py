"""Damages the stored kernel library in many ways and loads it, each time in a process of its own."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.engines.helpers.stored_kernels import FALLEN_BACK, MISSING, REBUILT, Copies, Damage, cuts, flips, wrong
from tests.soak.outcome import Outcome

PROMISE = "A damaged kernel library never ends a process: it is built again, or torch computes, with one line."

CUTS, FLIPS = 100, 100


def trial(scale: float) -> Outcome:
    """Try CUTS libraries cut short with a compiler and as many without, FLIPS with a bit flipped, every odd place."""
    few = max(2, round(CUTS * scale)), max(1, round(FLIPS * scale))
    with tempfile.TemporaryDirectory() as folder:
        copies = Copies(Path(folder))
        tried, failures = [0], list[str]()

        def survive(damages: Iterable[tuple[str, Damage]], how: str = "kernels", **options: bool) -> str:
            compiler, line = options.get("compiler", True), options.get("line", True)
            good = total = 0
            for name, damage in damages:
                fault = wrong(copies.fares(damage, compiler), how, how, line)
                total, good = total + 1, good + (not fault)
                if fault:
                    failures.append(f"{name}: {fault}")
            tried[0] += total
            return f"{good} of {total}"

        cut = survive(cuts(copies.size, few[0]))
        figures = [
            f"cut at {few[0]} places: {cut} built again",
            f"without a compiler {survive(cuts(copies.size, few[0]), 'torch', compiler=False)} fallen back",
            f"a bit flipped: {survive(flips(copies.size, few[1]))} built again",
            f"odd places: {survive(REBUILT.items())} built again",
            f"{survive(MISSING.items(), line=False)} built silently",
            f"{survive(FALLEN_BACK.items(), 'torch')} fallen back",
            f"{sum('killed' in failure for failure in failures)} killed",
        ]
        return Outcome(tried[0], failures, "; ".join(figures))
