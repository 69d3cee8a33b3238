"""The kernels for processors that this machine does not have: cross-compiled, and run under an emulator."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_cli.engines.local.native import build

COMPARISONS = Path(__file__).with_name("comparisons.c")
CROSS, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
COUNT = 10_000

LEVELS = ["armv8-a", "armv8.2-a+dotprod", "armv8.6-a"]
"""Without products of bytes, with signed ones, and with those of unsigned and signed bytes."""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.slow
def test_the_comparisons_find_nothing_here(tmp_path: Path) -> None:
    assert compared("gcc", ["-march=native", *build.flags("x86_64")], tmp_path) >= COUNT


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(CROSS) or not shutil.which(EMULATOR), reason=f"needs {CROSS} and {EMULATOR}")
@pytest.mark.parametrize("level", LEVELS)
def test_kernels_compute_on_64_bit_arm_what_plain_loops_do(level: str, tmp_path: Path) -> None:
    flags = [flag for flag in build.flags("aarch64") if not flag.startswith("-mcpu")]
    assert compared(CROSS, [*flags, f"-march={level}"], tmp_path, EMULATOR, "-cpu", "max") >= COUNT


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs ziglang, a clang for other systems")
@pytest.mark.parametrize(("system", "processor"), [("x86_64-linux-gnu", "x86_64_v3"), ("aarch64-macos", "apple_m1")])
def test_clang_compiles_and_links_the_kernels(system: str, processor: str, tmp_path: Path) -> None:
    """The library has every function that ops.py calls."""
    library = tmp_path / "library"
    clang = [sys.executable, "-m", "ziglang", "cc", "-target", system, f"-mcpu={processor}", *build.FLAGS]
    caches = {name: str(tmp_path) for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    command = [*clang, *sorted(build.SOURCES.glob("*.c")), "-o", library, "-lm"]
    subprocess.run(command, env=os.environ | caches, check=True)
    names = re.findall(r"library\.(\w+)", (build.SOURCES / "ops.py").read_text())
    symbols = library.read_bytes()
    assert "rounded_linear" in names
    assert not [name for name in names if name.encode() not in symbols]


def compared(compiler: str, flags: list[str], folder: Path, *runner: str) -> int:
    """Compile the comparisons and run them: how many found nothing."""
    program = folder / "comparisons"
    flags = [flag for flag in flags if flag not in ("-shared", "-fPIC")]
    command = [compiler, *flags, "-static", *sorted(build.SOURCES.glob("*.c")), COMPARISONS, "-o", program, "-lm"]
    subprocess.run(command, check=True)
    ran = subprocess.run([*runner, program, str(COUNT)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return int(ran.stdout.split()[0])
