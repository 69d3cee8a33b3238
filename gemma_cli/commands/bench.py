"""`gemma bench`: speculative against plain decoding, on this machine and this model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from gemma_cli.benchmark.figures import summarize
from gemma_cli.benchmark.runner import Arm, Measurement, measure
from gemma_cli.benchmark.suites import Prompt, read_prompts, suite_for
from gemma_cli.commands._common import notice, start
from gemma_cli.errors import UsageError
from gemma_cli.messages import GREEDY, Drafting
from gemma_cli.options import MAX_TOKENS, SAMPLING, EngineOptions, Json, OutputOptions, Quiet, examples, finite, grouped

EXAMPLES = examples(
    "gemma bench",
    "gemma bench --model e4b --draft-tokens 6 --max-tokens 256",
    'gemma bench --prompt "Write a haiku about rain." --temperature 1 --seed 7',
    "gemma bench --prompts prompts.jsonl --json > bench.json",
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def bench(
    engine: EngineOptions,
    runs: Annotated[int, typer.Option("--runs", min=1, max=1000, help="Runs that count; one more warms up.")] = 5,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Ask this only.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help='JSONL, {"prompt": "...", "category": "..."} a line.'),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=2, max=MAX_TOKENS, help="Of each reply.", rich_help_panel=SAMPLING)
    ] = 128,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0 is greedy.", rich_help_panel=SAMPLING)
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, rich_help_panel=SAMPLING)] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure speculative against plain decoding: same model, same prompts, run after run in turns."""
    if prompt is not None and prompts is not None:
        raise UsageError("--prompt and --prompts exclude each other")
    given = (Prompt("prompt", prompt),) if prompt is not None else read_prompts(prompts) if prompts else None
    sampling = replace(GREEDY, temperature=finite("--temperature", temperature), seed=seed, max_tokens=max_tokens)
    model = start(engine, OutputOptions(as_json=as_json, quiet=quiet))
    arms = [Arm("plain", Drafting(0))]
    if model.info.assistant and engine.draft_tokens:
        arms.append(Arm("speculative", Drafting(engine.draft_tokens)))
    elif not quiet:
        notice("nothing is drafted, so plain decoding has nothing to be compared with")
    asked = given or suite_for(model.info.model)
    measured = measure(model, asked, arms, sampling, runs)
    if not quiet:
        measured = _watched(measured, total=(runs + 1) * len(arms) * len(asked), warm_up=len(arms) * len(asked))
    report = summarize(model.info, seed, measured)
    if as_json:
        from gemma_cli.benchmark.report import as_object
        from gemma_cli.views import json

        json.write(as_object(report, json.speculation_object), sys.stdout)
    else:
        from gemma_cli.benchmark.report import renderables
        from gemma_cli.views.live import terminal

        terminal(sys.stdout).print(*renderables(report), sep="\n", soft_wrap=False)


def _watched(measured: Iterable[Measurement], total: int, warm_up: int) -> Iterator[Measurement]:
    """The same, telling on stderr how far it is: a line that renews itself on a terminal, else one estimate."""
    from gemma_cli.views.live import terminal
    from gemma_cli.views.status import counting

    began = monotonic()
    with counting(terminal(sys.stderr), "measuring", total, "replies") as advance:
        for number, measurement in enumerate(measured, start=1):
            advance(1)
            if number == warm_up and not sys.stderr.isatty():
                left = (monotonic() - began) / warm_up * (total - warm_up)
                notice(f"warmed up; {total - warm_up} replies to measure, about {left:.0f} s")
            yield measurement
