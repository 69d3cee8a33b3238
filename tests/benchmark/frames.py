"""Count the frames of this package between a command line and the first decoder layer.

    python -m tests.benchmark.frames

Runs `gemma chat "hi"` and `gemma transcribe` of a sample on pocket, and prints the stack at the first decoder layer of
the prompt. Few frames mean that few functions stand between what a user asks and what the model computes.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gemma_cli"
COMMANDS = {
    "chat": ["chat", "hi", "--model", "pocket", "--max-tokens", "2", "--quiet"],
    "transcribe": [
        "transcribe",
        str(ROOT / "gemma_cli/samples/number-347.wav"),
        "--format",
        "srt",
        "--model",
        "pocket",
        "-q",
    ],
}


def stack_of(arguments: list[str]) -> list[str]:
    """`file:function` of each frame of the package at the first decoder layer, outermost first. Runs the command."""
    from gemma_cli.cli import run
    from gemma_cli.engines.local.model.layer import DecoderLayer

    found: list[str] = []
    original = DecoderLayer.__call__

    def first(self: DecoderLayer, *values: object, **named: object) -> object:
        if not found:
            frame: FrameType | None = sys._getframe(1)
            while frame:
                path = Path(frame.f_code.co_filename)
                if PACKAGE in path.parents:
                    found.append(f"{path.relative_to(PACKAGE)}:{frame.f_code.co_qualname}")
                frame = frame.f_back
            found.reverse()
        return original(self, *values, **named)  # type: ignore[arg-type]

    DecoderLayer.__call__ = first  # type: ignore[method-assign, assignment]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run(arguments)
    finally:
        DecoderLayer.__call__ = original  # type: ignore[method-assign]
    return found


def main() -> None:
    """Print both stacks."""
    for name, arguments in COMMANDS.items():
        frames = stack_of(arguments)
        files = len({frame.partition(":")[0] for frame in frames})
        print(f"gemma {name}: {len(frames)} frames in {files} files")
        print("".join(f"  {frame}\n" for frame in frames), end="")


if __name__ == "__main__":
    main()
