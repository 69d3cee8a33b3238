"""Commands on a simulated Apple GPU that refuses what torch lacks there, against the same commands on the CPU."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gemma_cli.cli import run
from tests.engines.helpers import apple
from tests.soak.outcome import Outcome

PROMISE = "chat, describe-image, transcribe and bench run on an Apple GPU, and the text is that of the CPU"

COMMON = ("--model", "pocket", "--dtype", "float32", "--json")


def trial(scale: float) -> Outcome:
    """Every command once, whatever the scale."""
    failures = []
    with tempfile.TemporaryDirectory() as name:
        commands = _commands(Path(name))
        for words in commands:
            expected = _texts([*words, "--device", "cpu"])
            try:
                with apple.gpu():
                    found = _texts([*words, "--device", "mps"])
            except AssertionError as error:
                failures.append(f"{words[0]}: {error}")
                continue
            if found != expected:
                failures.append(f"{words[0]}: {found} where the CPU gives {expected}")
    return Outcome(len(commands), failures)


def _commands(folder: Path) -> list[list[str]]:
    noise = np.random.default_rng(0)
    picture = folder / "picture.png"
    Image.fromarray(noise.integers(0, 256, (50, 80, 3), dtype=np.uint8)).save(picture)
    few = ("--max-tokens", "4")
    return [
        ["chat", *COMMON, *few, "--seed", "3", "hello"],
        ["describe-image", *COMMON, *few, str(picture)],
        ["transcribe", *COMMON, "sample:number-347.wav"],
        ["bench", *COMMON, *few, "--seed", "3", "--prompt", "hello", "--runs", "1", "--sweep", "0,2"],
    ]


def _texts(words: list[str]) -> Any:
    """The text that a command gives; of a bench, whether all are equal."""
    output, stdin = io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            code = run(words)
    finally:
        sys.stdin = stdin
    assert code == 0, f"exit code {code}"
    found = json.loads(output.getvalue())
    return found.get("text", found.get("texts_equal"))
