"""`!command`: a command in the user's shell, on the terminal of the chat, which gets it back as it was."""

from __future__ import annotations

import os
import signal
import subprocess

from gemma_cli.core.errors import UsageError
from gemma_cli.views.signals import kept_terminal, line_input


def run(command: str) -> int:
    """Run `command` and return its exit code. Ctrl-C is the command's alone. Raises UsageError."""
    shell = (os.environ.get("SHELL") or "/bin/sh") if os.name != "nt" else None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with kept_terminal(), line_input():
            started = subprocess.Popen(
                command, shell=True, executable=shell, preexec_fn=_deaf_no_more if shell else None
            )
            return started.wait()
    except OSError as error:
        raise UsageError(f"!{command}: the shell cannot be started ({error.strerror or error})") from None
    finally:
        signal.signal(signal.SIGINT, before)


def _deaf_no_more() -> None:
    """In the child: take Ctrl-C and Ctrl-Z again, which the chat keeps from itself."""
    for number in (signal.SIGINT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
