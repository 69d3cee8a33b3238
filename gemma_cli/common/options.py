"""The options that commands share, each declared once: its flags, environment variable, range, default and help.

A command takes a group of them as one parameter and is wrapped in `grouped`, which spreads the group's fields out on
the command line and gathers them again.
"""

from __future__ import annotations

import functools
import inspect
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, cast, get_type_hints

import typer

from gemma_cli.core.engine import Dtype, EngineSpec, Quantization
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Drafting, Sampling

MODEL = "Model"
SAMPLING = "Sampling"
OUTPUT = "Output"
MAX_DRAFT_TOKENS = 16
ANSWER_TOKENS = Sampling().max_tokens
THOUGHT_TOKENS = 4096
MAX_TOKENS = 1 << 18  # the longest context any Gemma 4 has

Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        envvar="GEMMA_SEED",
        min=0,
        max=2**32 - 1,
        help="Random seed: the same seed gives the same text. Default: drawn at random.",
        rich_help_panel=SAMPLING,
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature",
        envvar="GEMMA_TEMPERATURE",
        min=0.0,
        help="Sampling temperature; 0 decodes greedily.",
        rich_help_panel=SAMPLING,
    ),
]
TopP = Annotated[
    float,
    typer.Option(
        "--top-p",
        envvar="GEMMA_TOP_P",
        min=0.0,
        max=1.0,
        help="Sample from the smallest set of tokens with this total probability; 1: no limit.",
        rich_help_panel=SAMPLING,
    ),
]
TopK = Annotated[
    int,
    typer.Option(
        "--top-k",
        envvar="GEMMA_TOP_K",
        min=0,
        help="Sample from this many likeliest tokens; 0: no limit.",
        rich_help_panel=SAMPLING,
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        envvar="GEMMA_MAX_TOKENS",
        min=1,
        max=MAX_TOKENS,
        help=f"End the reply after this many tokens. Default: {ANSWER_TOKENS}, {THOUGHT_TOKENS} with --think.",
        rich_help_panel=SAMPLING,
    ),
]
DraftTokens = Annotated[
    int | None,
    typer.Option(
        "--draft-tokens",
        envvar="GEMMA_DRAFT_TOKENS",
        min=0,
        max=MAX_DRAFT_TOKENS,
        help="Tokens drafted per target pass; 0 decodes plainly. The text is the same. "
        f"Default: adaptive, up to {Drafting().draft_tokens} (bench: always {Drafting().draft_tokens}).",
        rich_help_panel=MODEL,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no notices and no progress on stderr.", rich_help_panel=OUTPUT)
]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, where, and how it drafts."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            envvar="GEMMA_MODEL",
            metavar="ID",
            help="pocket, e2b, e4b, 12b, 26b-a4b, 31b, a hub id on this disk, or a folder. Default: the best one here.",
            rich_help_panel=MODEL,
        ),
    ] = None
    assistant: Annotated[
        str | None,
        typer.Option(
            "--assistant",
            envvar="GEMMA_ASSISTANT",
            metavar="ID|off",
            help="Drafter: a hub id or a folder. Default: the model's own.",
            rich_help_panel=MODEL,
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            envvar="GEMMA_DEVICE",
            help="cpu, cuda, cuda:1 (that GPU alone), mps. Default: auto.",
            rich_help_panel=MODEL,
        ),
    ] = None
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            "--dtype",
            envvar="GEMMA_DTYPE",
            help="Data type of weights and activations. Default: auto.",
            rich_help_panel=MODEL,
        ),
    ] = None
    drafts: DraftTokens = None

    @property
    def draft_tokens(self) -> int:
        """How many are drafted, or may be where it was left open."""
        return Drafting().draft_tokens if self.drafts is None else self.drafts

    def spec(self) -> EngineSpec:
        """What was asked for, else what the configuration file says; model and drafter are resolved by the engine.

        Raises UsageError for a configuration that cannot be read.
        """
        from gemma_cli.store.config import load_config

        config = load_config()
        return EngineSpec(
            model=self.model,
            assistant=self.assistant,
            device=self.device or config.device or EngineSpec.device,
            dtype=self.dtype or cast("Dtype | None", config.dtype) or EngineSpec.dtype,  # load_config checks it
            quantize=cast("Quantization | None", config.quantize),
        )

    def drafting(self) -> Drafting:
        return Drafting(self.draft_tokens, adaptive=self.drafts is None)


@dataclass(frozen=True)
class EngineOptions(ModelOptions):
    """The same, and in how many bits its weights are kept."""

    quantize: Annotated[
        Quantization | None,
        typer.Option(
            "--quantize",
            envvar="GEMMA_QUANTIZE",
            help="Quantize the weights: smaller, faster, slightly less exact. Default: as stored.",
            rich_help_panel=MODEL,
        ),
    ] = None

    def spec(self) -> EngineSpec:
        spec = super().spec()
        return replace(spec, quantize=self.quantize or spec.quantize)


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen; the defaults are Gemma 4's own."""

    seed: Seed = None
    temperature: Temperature = Sampling().temperature
    top_p: TopP = Sampling().top_p
    top_k: TopK = Sampling().top_k
    max_tokens: MaxTokens = None

    def sampling(self, thinking: bool = False) -> Sampling:
        """The values as an engine takes them; raises UsageError for what no range can catch."""
        return Sampling(
            temperature=finite("--temperature", self.temperature),
            top_k=self.top_k,
            top_p=finite("--top-p", self.top_p),
            seed=secrets.randbits(32) if self.seed is None else self.seed,
            max_tokens=self.max_tokens or (THOUGHT_TOKENS if thinking else ANSWER_TOKENS),
        )


@dataclass(frozen=True)
class OutputOptions:
    """What is printed beside the answer, and in which form."""

    as_json: Json = False
    stats: Annotated[
        bool, typer.Option("--stats", help="Print speed and acceptance on stderr afterwards.", rich_help_panel=OUTPUT)
    ] = False
    quiet: Quiet = False


def examples(*lines: str) -> str:
    """An epilog for a command's help: one example a line, shown as it would be typed."""
    return "\n\n".join(["[bold]Examples[/bold]", *(line.replace("[", r"\[") for line in lines)])


def finite(flag: str, value: float) -> float:
    """The value; raises UsageError for nan and infinity, which pass every comparison with a range's end."""
    if not math.isfinite(value):
        raise UsageError(f"{flag} must be a finite number, not {value}")
    return value


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: each field of one becomes an option of the command line."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    spread: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            spread += _parameters(groups[parameter.name])
        else:
            spread.append(parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def gathered(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    gathered.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    gathered.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    return gathered


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]
