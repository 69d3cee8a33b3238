"""`gemma bench`: speculative against plain decoding, on this machine and this model."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gemma_cli.benchmark import side_by_side
from gemma_cli.benchmark.contexts import filled
from gemma_cli.benchmark.figures import summarize
from gemma_cli.benchmark.memory import Memory
from gemma_cli.benchmark.objects import as_object
from gemma_cli.benchmark.runner import Arm, Measurement, measure
from gemma_cli.benchmark.suites import Prompt, read_prompts, suite_for
from gemma_cli.commands.bench_parts.options import BenchEngineOptions, command_line, numbers
from gemma_cli.commands.bench_parts.output import BenchOutputOptions, show, watched, write_report, written_to
from gemma_cli.commands.bench_parts.quality import Job, QualityOptions, table
from gemma_cli.common.command_line.configured import source_of
from gemma_cli.common.command_line.setting_options import ranged
from gemma_cli.common.notices import notice
from gemma_cli.common.opening import busy, start
from gemma_cli.common.options import (
    LOCAL,
    MAX_DRAFT_TOKENS,
    MAX_TOKENS,
    SAMPLING,
    ModelOptions,
    OutputOptions,
    examples,
    grouped,
)
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import GREEDY, Drafting, Sampling
from gemma_cli.engines.measure import open_stock

EXAMPLES = examples(
    "gemma bench",
    "gemma bench --model e4b --against transformers",
    "gemma bench --sweep 0,1,2,3,4,6,8 --plot drafts.png --report bench.html",
    "gemma bench --context 512,2048 --max-tokens 64",
    'gemma bench --prompt "Write a haiku about rain." --temperature 1 --seed 7',
    "gemma bench --prompts prompts.jsonl --samples replies.jsonl --json > bench.json",
    "gemma bench --quantize int8,int4",
    "gemma bench --task transcribe --data cv-corpus/de/test.tsv --limit 200 --model e4b",
    "gemma bench --engine http://127.0.0.1:8000 --against http://127.0.0.1:8080 --concurrency 1,4,16",
    "gemma bench --model synthetic:e2b --dtype bfloat16 --synthetic-acceptance 0.8",
)

app = typer.Typer(add_completion=False)

T = TypeVar("T")


@dataclass(frozen=True)
class BenchPromptOptions:
    """Prompts and sampling."""

    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="Measure only this prompt.")] = None
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help='JSONL file of prompts, with {"prompt": "...", "category": "..."} on each line.'
        ),
    ] = None
    context: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Put a chat before each prompt, so that chat and prompt together have N tokens."
        ),
    ] = None
    max_tokens: Annotated[
        int,
        typer.Option(
            min=2, max=MAX_TOKENS, metavar="N", help="Maximum number of tokens per reply.", rich_help_panel=SAMPLING
        ),
    ] = 128
    temperature: Annotated[float, ranged("temperature")] = 0.0
    seed: Annotated[int | None, ranged("seed")] = 0

    def sampling(self) -> Sampling:
        seed = secrets.randbits(32) if self.seed is None else self.seed
        return replace(GREEDY, temperature=self.temperature, seed=seed, max_tokens=self.max_tokens)

    def given(self) -> tuple[Prompt, ...] | None:
        """Return the user's own prompts. Raises UsageError, and InputError for a file without prompts."""
        if self.prompt is not None and self.prompts is not None:
            raise UsageError("--prompt and --prompts cannot be combined: give one of them")
        if self.prompt is not None:
            return (Prompt("prompt", self.prompt),)
        return read_prompts(self.prompts) if self.prompts else None


@app.command(epilog=EXAMPLES)
@grouped
def bench(
    invocation: typer.Context,
    engine: BenchEngineOptions,
    asked: BenchPromptOptions,
    kept: BenchOutputOptions,
    quality: QualityOptions,
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=1000, help="Number of measured runs, after one warm-up run.")
    ] = 5,
    sweep: Annotated[
        str | None, typer.Option("--sweep", metavar="K,K,...", help="Draft lengths to compare; 0 means no drafts.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="transformers|URL",
            help="Also measure the transformers library on the same "
            "model. With --engine: also measure a second server.",
        ),
    ] = None,
) -> None:
    """Compare speculative decoding with plain decoding, on the same model and prompts, in alternating runs."""
    own_prompts, sampling = asked.given(), asked.sampling()
    quality.check()
    output = OutputOptions(as_json=kept.as_json, quiet=kept.quiet)
    _check_servers(engine, against, sweep, asked, kept)
    if engine.url not in (None, LOCAL):
        if quality.task:
            raise UsageError("--task works only with a model on this machine: leave out --task or --engine")
        from gemma_cli.commands.bench_parts.servers import bench_servers

        bench_servers(engine, against, own_prompts, sampling, engine.concurrencies, runs, output)
        return
    if sweep is not None and source_of(invocation, "drafts") == "COMMANDLINE":
        raise UsageError("--sweep and --draft-tokens cannot be combined: give one of them")
    lengths = _lengths(sweep, engine)
    if len(engine.quantizations) > 1:
        if quality.task:
            raise UsageError("--task measures one quantization at a time: run gemma bench once for each format")
        if against or asked.context or kept.samples or kept.plot or kept.report:
            raise UsageError(
                "several --quantize formats cannot be combined with --against, --context, --samples, --plot or "
                "--report: give one format"
            )
        _side_by_side(engine, own_prompts, sampling, lengths, runs, kept)
        return
    if quality.task:
        if own_prompts or against or asked.context or kept.plot:
            raise UsageError(
                "--task cannot be combined with --prompt, --prompts, "
                "--against, --context or --plot: leave out --task or the others"
            )
        kept.check()
        _score(engine, quality.job(sampling), lengths, kept, command_line(invocation))
        return
    contexts = numbers("--context", asked.context, 1, MAX_TOKENS) if asked.context else ()
    kept.check()
    model = start(engine, output)
    arms = _arms(model, lengths, peers=against is not None, quiet=kept.quiet)
    prompts = own_prompts or suite_for(model.info.model)
    with busy("preparing", output):
        prompts = filled(model, prompts, contexts, sampling.max_tokens) if contexts else prompts
        peer = open_stock(model) if against else None
    memory = Memory(model)
    measured: Iterable[Measurement] = measure(model, prompts, arms, sampling, runs, peer, memory.sample)
    if not kept.quiet:
        replies = len(arms) * len(prompts)
        measured = watched(measured, total=(runs + 1) * replies, warm_up=replies)
    with ExitStack() as stack:
        if kept.samples:
            measured = written_to(measured, kept.samples, stack)
        report = summarize(model.info, sampling, measured, peer.info if peer else None, memory)
    show(report, kept)
    write_report(report, kept, command_line(invocation))


def _score(
    options: BenchEngineOptions, job: Job, lengths: tuple[int, ...], kept: BenchOutputOptions, command: str
) -> None:
    """Answer a data set plainly and with drafts; show the scores, then the speeds."""
    model = start(options, OutputOptions(as_json=kept.as_json, quiet=kept.quiet))
    arms = _arms(model, lengths, peers=False, quiet=kept.quiet)
    measured: Iterable[Measurement] = job.measure(model, arms)
    if not kept.quiet:
        measured = watched(measured, (len(job.data.items) + 1) * len(arms), len(arms))
    replies = list(measured)
    scores = job.scored(replies)
    report = summarize(model.info, replace(GREEDY, seed=job.sampling.seed), replies)
    if kept.samples:
        job.write(replies, kept.samples)
    show(report, kept, job.as_object(scores), [table(scores)])
    write_report(report, kept, command)


def _check_servers(
    engine: BenchEngineOptions,
    against: str | None,
    sweep: str | None,
    asked: BenchPromptOptions,
    kept: BenchOutputOptions,
) -> None:
    """Raises UsageError for what a server cannot be measured with, or what only a server can."""
    if engine.url in (None, LOCAL):
        if engine.concurrency is not None:
            raise UsageError("--concurrency applies only to a server: name a server with --engine")
        if against not in (None, "transformers"):
            raise UsageError(
                f"--against {against}: to compare two servers, name the "
                "first server with --engine; otherwise use transformers"
            )
        return
    flags: dict[str, object] = {
        "--sweep": sweep,
        "--context": asked.context,
        "--samples": kept.samples,
        "--plot": kept.plot,
        "--report": kept.report,
    }
    flags |= {"--quantize": engine.quantize, "--synthetic-acceptance": engine.synthetic_acceptance}
    if flag := next((flag for flag, value in flags.items() if value is not None), None):
        raise UsageError(f"{flag} works only with a model on this machine: leave out {flag} or --engine")
    if against == "transformers":
        raise UsageError(
            "--against transformers works only with a model on this machine: give --against the URL of a second server"
        )


def _side_by_side(
    options: BenchEngineOptions,
    own_prompts: tuple[Prompt, ...] | None,
    sampling: Sampling,
    lengths: tuple[int, ...],
    runs: int,
    kept: BenchOutputOptions,
) -> None:
    """Load the stored model and quantized ones, all in memory at the same time, with alternating replies."""
    output = OutputOptions(as_json=kept.as_json, quiet=kept.quiet)
    engines = [
        start(each, replace(output, quiet=kept.quiet or number > 0)) for number, each in enumerate(options.each())
    ]
    prompts = own_prompts or suite_for(engines[0].info.model)
    arms = _arms(engines[0], lengths, peers=False, quiet=kept.quiet)
    measured: Iterable[tuple[Measurement, ...]] = side_by_side.in_turns(engines, prompts, arms, sampling, runs)
    if not kept.quiet:
        each = len(arms) * len(prompts)
        measured = watched(measured, total=(runs + 1) * each, warm_up=each, unit="replies of each")
    replies = list(measured)
    with busy("summing up", output):
        shown = side_by_side.columns(engines, sampling, replies)
    if kept.as_json:
        from gemma_cli.views import json as view

        reports = [as_object(column.report, view.speculation_object) for column in shown]
        view.write(side_by_side.as_object(shown, reports), sys.stdout)
    else:
        from gemma_cli.views.console import terminal

        terminal(sys.stdout).print(*side_by_side.renderables(shown), sep="\n", soft_wrap=False)


def _lengths(sweep: str | None, engine: ModelOptions) -> tuple[int, ...]:
    """The draft lengths to compare: plain decoding and the one that was asked for, or those of a sweep."""
    if sweep is None:
        return tuple(sorted({0, engine.draft_tokens}))
    return numbers("--sweep", sweep, 0, MAX_DRAFT_TOKENS)


def _arms(model: Engine, lengths: tuple[int, ...], *, peers: bool, quiet: bool) -> list[Arm]:
    """Return our variants, and one of the peer for each."""
    if not model.info.assistant:
        lengths = (0,)
    if lengths == (0,) and not (quiet or peers):
        notice("the model has no drafter, so only plain decoding is measured")
    alone = sum(map(bool, lengths)) == 1
    arms = []
    for count in lengths:
        drafts = f"{count} draft{'s' if count > 1 else ''}"
        name = ("speculative" if alone else drafts) if count else "plain"
        arms.append(Arm(name, Drafting(count)))
        if peers:
            theirs = ("assisted" if alone else f"assisted, {drafts}") if count else "plain"
            arms.append(Arm(f"stock {theirs}", Drafting(count), peer=True))
    return arms
