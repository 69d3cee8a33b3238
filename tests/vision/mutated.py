"""Damage to files of a known format, and `gemma` on them in this process, for the long trials."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from gemma_cli.cli import run
from gemma_cli.common import opening
from gemma_cli.core.engine import EngineSpec
from gemma_cli.engines import open_engine

ALLOWED = 600_000_000
"""Bytes of memory above what the process takes with the model loaded and one input read."""


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return a copy with some of it changed, cut off, left out, doubled or overwritten."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(out))
        length = rng.choice((1, 1, 4, 64, len(out) // 4 + 1))
        match rng.randrange(6):
            case 0:
                out[at] = rng.randrange(256)
            case 1:
                out[at : at + length] = rng.randbytes(len(out[at : at + length]))
            case 2:
                del out[max(1, at) :]
            case 3:
                del out[at : at + length]
                out = out or bytearray(b"\0")
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                out[at : at + length] = rng.choice((b"\0", b"\xff")) * len(out[at : at + length])
    return bytes(out)


@contextlib.contextmanager
def one_pocket() -> Iterator[None]:
    """Let every command in the block use one engine."""
    engine = open_engine(EngineSpec(model="pocket", device="cpu"))
    real, opening.open_engine = opening.open_engine, lambda spec: engine
    try:
        yield
    finally:
        opening.open_engine = real


def tried(command: Sequence[str], path: Path) -> str | None:
    """Run `gemma COMMAND PATH`; returns what is wrong with how it ends, None where nothing is."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*command, str(path)])
    lines = err.getvalue().splitlines()
    if code == 0:
        return None if not lines else f"{path.name}: {lines}"
    if code not in (1, 2) or len(lines) != 1 or path.name not in lines[0] or "internal error" in lines[0]:
        return f"{path.name}: exit code {code}, {lines}"
    return None


def each(seeds: Sequence[Path], command: Sequence[str], folder: Path, numbers: Sequence[int]) -> tuple[list[str], int]:
    """Try damaged copies of the seeds. Returns the failures, and bytes of memory above those at the beginning."""
    failures: list[str] = []
    with one_pocket():
        for seed in seeds:
            tried(command, seed)
        before = memory("VmRSS")
        for number in numbers:
            rng = random.Random(number)
            seed = seeds[number % len(seeds)]
            path = folder / f"{number}{seed.suffix}"
            path.write_bytes(damaged(rng, seed.read_bytes()))
            wrong = tried(command, path)
            failures += [wrong] if wrong else []
            path.unlink()
    return failures, memory("VmHWM") - before


def memory(field: str) -> int:
    """Return bytes of this process: VmRSS now, VmHWM at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])
