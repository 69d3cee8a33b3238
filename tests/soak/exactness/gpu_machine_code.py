"""Compiles every variant of the Triton kernels that the released models launch, for five generations of GPUs that are
not here, and asserts what the machine code takes. Needs Triton, and no GPU."""

import json
import os
import subprocess
import sys

from tests.soak.outcome import Outcome

PROMISE = "The Triton kernels of a decoding round compile for GPUs from the A100 on, without spilling registers."

SHARED = {80: 163, 89: 99, 90: 227, 100: 227, 120: 99}
"""KB of shared memory that a program may take, by compute capability."""

LOCAL = {"rotation"}
"""Kernels that use local memory for something else than registers: a table that reduces large angles."""


def trial(scale: float) -> Outcome:
    """Compile all variants, at a scale below 1 one of each kernel, in a process without the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.engines.triton_kernels.checks.compiled_kernels"]
    done = subprocess.run(
        command + ["--few"] * (scale < 1), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [f"{each}" for each in found if _wrong(each)]
    most: dict[str, int] = {}
    for each in found:
        most[each["kernel"]] = max(most.get(each["kernel"], 0), each["registers"])
    return Outcome(len(found), failures, f"Triton {found[0]['triton']}; most registers: {most}")


def _wrong(code: dict[str, object]) -> bool:
    """Whether the machine code spills, takes too much shared memory, or multiplies without matrix instructions."""
    multiplies = str(code["kernel"]).startswith(("linear", "attention part", "expert up", "expert down"))
    assert isinstance(code["shared"], int)
    assert isinstance(code["capability"], int)
    return (
        not code["instructions"]
        or (bool(code["spills"]) and code["kernel"] not in LOCAL)
        or code["shared"] > SHARED[code["capability"]] << 10
        or (multiplies and not code["matrix"])
    )
