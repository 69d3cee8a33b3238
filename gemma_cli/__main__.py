"""`python -m gemma_cli`, and what the `gemma` command runs."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

COMPLETE = "_GEMMA_COMPLETE"
"""The variable by which a shell asks what may come next, with its name."""


def main() -> int:
    """Run the command line of this process; the result is its exit code."""
    gc.set_threshold(20_000)  # what is imported stays: collecting among it takes 5 % of a short command's time
    try:
        if os.environ.get(COMPLETE):
            from gemma_cli.common.completion.shell_completion import answer

            answer(os.environ[COMPLETE], sys.argv[1:], _commands)
            return 0
        from gemma_cli.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


def _commands() -> dict[str, Any]:
    from gemma_cli.cli import command_tree

    return command_tree()


if __name__ == "__main__":
    sys.exit(main())
