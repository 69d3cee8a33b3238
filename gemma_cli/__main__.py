"""`python -m gemma_cli`, and what the `gemma` command runs."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process; the result is its exit code."""
    try:
        from gemma_cli.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
