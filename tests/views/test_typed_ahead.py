"""What is typed a moment before a question is asked is no answer to it."""

from __future__ import annotations

import os
import select
import sys

import pytest

from gemma_cli.views.signals import line_input

TIMES = 40
"""Without a pause before the keys are dropped, some of these questions find them answered."""


def test_a_line_typed_just_before_a_question_does_not_answer_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    master, slave = pty.openpty()
    with open(slave) as stdin:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdin", stdin)
        for _ in range(TIMES):
            os.write(master, b"x" * 50 + b"\ny\n")
            with line_input():
                assert not select.select([stdin], [], [], 0.01)[0]
    os.close(master)
