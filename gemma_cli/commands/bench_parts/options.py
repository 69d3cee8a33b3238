"""Which model a bench runs on: what every command asks, and what only a bench does."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, cast, get_args

import typer

from gemma_cli.common.command_line.configured import source_of
from gemma_cli.common.options import MODEL, ModelOptions
from gemma_cli.core.engine import EngineSpec, Quantization
from gemma_cli.core.errors import UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.core.settings import MAX_CONCURRENCY, SETTINGS


def numbers(flag: str, text: str, least: int, most: int) -> tuple[int, ...]:
    """Numbers between commas, in rising order, each once. Raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and least <= int(part[:9]) <= most for part in parts):
        raise UsageError(f"{flag} {text}: give whole numbers from {least} to {most}, separated by commas")
    return tuple(sorted({int(part) for part in parts}))


def command_line(context: typer.Context) -> str:
    """Write the command line anew, as one would type it to repeat the run."""
    words = context.command_path.split()
    for parameter in context.command.params:
        if parameter.name and source_of(context, parameter.name) == "COMMANDLINE":
            words.append(parameter.opts[0])
            words += [] if getattr(parameter, "is_flag", False) else [str(context.params[parameter.name])]
    return shlex.join(words)


@dataclass(frozen=True)
class BenchEngineOptions(ModelOptions):
    """Which model, where, how it drafts, in how many bits, and whether its drafts are accepted at random."""

    quantize: Annotated[
        str | None,
        typer.Option(
            envvar=SETTINGS["quantize"].variable,
            metavar="int8|int4|int8,int4",
            help="Quantize the weights; int8,int4 measures both formats and the stored weights.",
            rich_help_panel=MODEL,
        ),
        SETTINGS["quantize"],
    ] = None
    synthetic_acceptance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="P",
            help="Accept each draft with this probability. This option "
            "is only for synthetic: models, whose drafts are random.",
            rich_help_panel=MODEL,
        ),
    ] = None

    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="With --engine: number of requests at the same time; "
            "several numbers give one measurement each. Default: 1.",
            rich_help_panel=MODEL,
        ),
    ] = None

    def spec(self) -> EngineSpec:
        spec = replace(super().spec(), synthetic_acceptance=self.synthetic_acceptance)
        spec = replace(spec, concurrency=max(self.concurrencies)) if self.url else spec
        return replace(spec, quantize=self.quantizations[0]) if self.quantize else spec

    @property
    def concurrencies(self) -> tuple[int, ...]:
        """Return the numbers of simultaneous requests. Raises UsageError."""
        return numbers("--concurrency", self.concurrency or "1", 1, MAX_CONCURRENCY)

    @property
    def quantizations(self) -> tuple[Quantization, ...]:
        """Return the requested quantizations. Raises UsageError."""
        named = tuple(dict.fromkeys(part.strip() for part in (self.quantize or "").split(",") if part.strip()))
        if not set(named) <= set(get_args(Quantization)) or (self.quantize is not None and not named):
            raise UsageError(
                f"--quantize {self.quantize}: give {' or '.join(get_args(Quantization))}, or both as int8,int4"
            )
        return cast("tuple[Quantization, ...]", named)

    def each(self) -> Iterator[ModelOptions]:
        """Return the formats of a comparison: as stored, then each quantization."""
        for quantize in (None, *self.quantizations):
            yield replace(self, quantize=quantize)
