"""Run `gemma` on a busy machine with clocks that read the CPU time of this process, so that waiting for others does
not count. With one thread that is the time an idle machine would take, but for what others do to caches and memory.

    OMP_NUM_THREADS=1 python -m tests.benchmark.cpu_time bench --against transformers
"""

from __future__ import annotations

import sys
import time


def main() -> int:
    time.perf_counter = time.process_time  # before anybody imports it by name
    from gemma_cli.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
