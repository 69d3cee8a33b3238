"""How much memory a model takes at most, next to the estimate that is made before it is loaded.

    python -m tests.benchmark.memory [MODEL ...] [--formats bfloat16,int8,int4,float32] [--threads 1,2] [--tokens 10]

MODEL: what `--model` takes; synthetic:e2b if none is named. Each case is a process of its own that loads the model and
answers twice, the second time a prompt of so many tokens. Its peak is the most it ever owned, with the pages of mapped
files that the second answer read: the libraries, and weights that are used where they lie. What was only read from a
file to be converted does not count, because the system takes such pages back when it needs them. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from time import sleep
from typing import Any

QUANTIZED = ("int8", "int4")
REPLY = 8
"""Tokens of an answer: how many there are makes no difference to the peak."""

_DONTNEED = 4  # of madvise(2)


def main() -> None:
    """Measure every case and print a line for each."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmark.memory", description=__doc__)
    options.add_argument("models", nargs="*", metavar="MODEL", default=["synthetic:e2b"])
    options.add_argument("--formats", default="bfloat16,int8,int4", help="default: %(default)s")
    options.add_argument("--threads", default="1,2", help="default: %(default)s")
    options.add_argument("--tokens", default="10", help="lengths of the prompt; default: %(default)s")
    asked = options.parse_args()
    print("| model | format | threads | prompt | estimated, GB | peak, GB | estimated / peak |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cases = product(asked.models, asked.formats.split(","), asked.threads.split(","), asked.tokens.split(","))
    for model, form, threads, tokens in cases:
        estimated, peak = measure(model, form, int(threads), int(tokens))
        ratio = f"{estimated / peak:.3f}"
        row = (Path(model).name, form, threads, tokens, f"{estimated / 1e9:.2f}", f"{peak / 1e9:.2f}", ratio)
        print("|", " | ".join(row), "|", flush=True)


def measure(model: str, form: str, threads: int, tokens: int) -> tuple[int, int]:
    """Bytes: (estimated before loading, taken at most)."""
    command = [sys.executable, "-m", __spec__.name, model, form, str(tokens)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), CHILD: "1"}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    owned = 0
    while child.poll() is None:
        owned = max(owned, resident(child.pid)[0])
        sleep(0.002)
    assert child.stdout is not None
    if child.returncode:
        raise SystemExit(f"{model} in {form}: the process ended with {child.returncode}")
    found = json.loads(child.stdout.read())
    return found["estimated"], owned + found["mapped"]


def resident(process: int | str = "self") -> tuple[int, int]:
    """Bytes of a process in main memory: (its own, of mapped files)."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return 0, 0
    values = dict(line.split(":", 1) for line in lines)
    own, mapped = (int(values.get(name, "0").split()[0]) << 10 for name in ("RssAnon", "RssFile"))
    return own, mapped


CHILD = "GEMMA_MEMORY_CHILD"


def run(model: str, form: str, tokens: int) -> dict[str, int]:
    """Load a model and answer twice: bytes of the estimate and of the mapped pages that the second answer read."""
    from gemma_cli.core.engine import EngineSpec
    from gemma_cli.engines.local import opening as local
    from gemma_cli.engines.local.loading.memory.estimate import needs

    estimates: list[int] = []
    find = local.find

    def noted(name: str, plan: Any) -> Any:
        estimates.append(needs(plan).total)
        return find(name, plan)

    local.find = noted
    dtype: Any = "auto" if form in QUANTIZED else form
    quantize: Any = form if form in QUANTIZED else None
    engine = local.open_local(EngineSpec(model, device="cpu", dtype=dtype, quantize=quantize))
    answer(engine, 10)
    forget_mapped()
    answer(engine, tokens)
    return {"estimated": estimates[0], "mapped": resident()[1]}


def answer(engine: Any, tokens: int) -> None:
    """Answer a prompt of about so many tokens, with the drafter."""
    from dataclasses import replace

    from gemma_cli.core.messages import GREEDY, Drafting, Request, ask

    text = "The lamp is blue. "
    count = max(1, tokens // len(engine.tokenizer.encode(text)))
    for _ in engine.stream(Request(ask(text * count), replace(GREEDY, max_tokens=REPLY), Drafting(4))):
        pass


def forget_mapped() -> None:
    """Drop the pages of mapped checkpoints; what is still read comes back."""
    import ctypes

    library = ctypes.CDLL(None)
    for start, stop in checkpoint_ranges():
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _DONTNEED)


def checkpoint_ranges() -> Iterator[tuple[int, int]]:
    """Addresses (first, last + 1) at which this process has mapped safetensors."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(".safetensors"):
            first, _, last = line.split()[0].partition("-")
            yield int(first, 16), int(last, 16)


if __name__ == "__main__":
    if CHILD in os.environ:
        print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
