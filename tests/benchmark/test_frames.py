"""Few functions stand between a command line and the model: these ceilings may be lowered, not raised."""

from __future__ import annotations

import io
import sys

import pytest

from tests.benchmark.frames import COMMANDS, stack_of


@pytest.mark.parametrize(("command", "frames", "files"), [("chat", 12, 9), ("transcribe", 16, 11)])
def test_frames_from_the_command_line_to_the_first_decoder_layer(
    command: str, frames: int, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    stack = stack_of(COMMANDS[command])
    assert stack[0] == "cli.py:run"
    assert stack[-1].startswith("engines/local/model/target.py")
    assert len(stack) <= frames, "\n".join(stack)
    assert len({frame.partition(":")[0] for frame in stack}) <= files, "\n".join(stack)
