"""The kernels for processors that this machine does not have: cross-compiled, and run under an emulator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gemma_cli.engines.local.native import build

COMPARISONS = Path(__file__).with_name("comparisons.c")
CROSS, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
COUNT = 10_000

LEVELS = [
    "armv8.2-a+dotprod",
    *(pytest.param(level, marks=pytest.mark.slow) for level in ("armv8-a", "armv8.6-a", "armv8.2-a+dotprod+bf16")),
]
"""Without products of bytes, with signed ones, and with those of unsigned and signed bytes."""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.slow
def test_the_comparisons_find_nothing_here(tmp_path: Path) -> None:
    assert compared("gcc", ["-march=native", *build.flags("x86_64")], tmp_path) >= COUNT


@pytest.mark.skipif(not shutil.which(CROSS) or not shutil.which(EMULATOR), reason=f"needs {CROSS} and {EMULATOR}")
@pytest.mark.parametrize("level", LEVELS)
def test_kernels_compute_on_64_bit_arm_what_plain_loops_do(level: str, tmp_path: Path) -> None:
    flags = [flag for flag in build.flags("aarch64") if not flag.startswith("-mcpu")]
    assert compared(CROSS, [*flags, f"-march={level}"], tmp_path, EMULATOR, "-cpu", "max") >= COUNT


def compared(compiler: str, flags: list[str], folder: Path, *runner: str) -> int:
    """Compile the comparisons and run them: how many found nothing."""
    program = folder / "comparisons"
    flags = [flag for flag in flags if flag not in ("-shared", "-fPIC")]
    command = [compiler, *flags, "-static", *sorted(build.SOURCES.glob("*.c")), COMPARISONS, "-o", program, "-lm"]
    subprocess.run(command, check=True)
    ran = subprocess.run([*runner, program, str(COUNT)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return int(ran.stdout.split()[0])
