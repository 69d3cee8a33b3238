"""`gemma bench --engine URL`: one server, or two in alternating runs, with several simultaneous requests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from gemma_cli.benchmark.servers import measure_servers
from gemma_cli.benchmark.servers_report import as_object, renderables
from gemma_cli.benchmark.suites import Prompt, suite_for
from gemma_cli.commands.bench_parts.options import BenchEngineOptions
from gemma_cli.common.opening import start
from gemma_cli.common.options import OutputOptions
from gemma_cli.core.messages import Sampling


def bench_servers(
    options: BenchEngineOptions,
    against: str | None,
    prompts: tuple[Prompt, ...] | None,
    sampling: Sampling,
    concurrencies: Sequence[int],
    runs: int,
    output: OutputOptions,
) -> None:
    """Measure and print. Raises GemmaError."""
    urls = [options.url, *([against] if against else [])]
    engines = [start(replace(options, url=url), output) for url in urls]
    asked = prompts or suite_for(engines[0].info.model)
    with _progress(len(engines) * len(concurrencies) * (runs + 1), output.quiet) as advance:
        reports = measure_servers(engines, asked, sampling, concurrencies, runs, advance)
    if output.as_json:
        from gemma_cli.views import json

        json.write(as_object(reports, sampling, runs), sys.stdout)
    else:
        from gemma_cli.views.console import terminal

        terminal(sys.stdout).print(*renderables(reports), sep="\n", soft_wrap=False)


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[int], object]]:
    if quiet:
        yield lambda runs: None
        return
    from gemma_cli.views.console import terminal
    from gemma_cli.views.status import counting

    with counting(terminal(sys.stderr), "measuring", total, "runs") as advance:
        yield advance
