"""The options that commands share, each declared once: its flags, environment variable, range, default and help.

A command takes a group of them as one parameter and is wrapped in `grouped`, which spreads the group's fields out on
the command line and gathers them again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from gemma_cli.common.command_line.configured import configured, source_of
from gemma_cli.common.command_line.damage import end_of_file_is_an_error
from gemma_cli.common.command_line.setting_options import option
from gemma_cli.core.engine import Dtype, EngineSpec, Quantization
from gemma_cli.core.messages import Drafting, Sampling, random_seed
from gemma_cli.core.records import dataclass
from gemma_cli.core.setting import MODEL, OUTPUT, SAMPLING, Setting
from gemma_cli.core.setting_kinds import Whole
from gemma_cli.core.settings import ANSWER_TOKENS, MAX_DRAFT_TOKENS, MAX_TOKENS, SETTINGS, THOUGHT_TOKENS

T = TypeVar("T")

LOCAL = "local"
"""The value of --engine for this machine."""

__all__ = ["MAX_DRAFT_TOKENS", "MAX_TOKENS", "MODEL", "OUTPUT", "SAMPLING"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, *option("quiet")]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, where, and how it drafts."""

    model: Annotated[str | None, *option("model")] = None
    url: Annotated[str | None, *option("engine")] = None
    assistant: Annotated[str | None, *option("assistant")] = None
    device: Annotated[str | None, *option("device")] = None
    dtype: Annotated[Dtype | None, *option("dtype")] = None
    keep_quantized: Annotated[bool, *option("keep-quantized")] = True
    drafts: Annotated[int | None, *option("draft-tokens")] = None
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Use the preset with this name, a table [presets.NAME] in config.toml.",
            rich_help_panel=MODEL,
        ),
    ] = None

    @property
    def draft_tokens(self) -> int:
        """Return the number of draft tokens, or its limit if adaptive."""
        return Drafting().draft_tokens if self.drafts is None else self.drafts

    def spec(self) -> EngineSpec:
        """The options that select an engine; unset ones are left to it."""
        return EngineSpec(
            model=self.model,
            assistant=self.assistant,
            device=self.device or EngineSpec.device,
            dtype=self.dtype or EngineSpec.dtype,
            url=None if self.url == LOCAL else self.url,
            keep_quantized=self.keep_quantized,
        )

    def drafting(self) -> Drafting:
        return Drafting(self.draft_tokens, adaptive=self.drafts is None)


@dataclass(frozen=True)
class LoadOptions(ModelOptions):
    """Same as ModelOptions, with the quantization of the weights."""

    quantize: Annotated[Quantization | None, *option("quantize")] = None

    def spec(self) -> EngineSpec:
        return replace(super().spec(), quantize=self.quantize)


@dataclass(frozen=True)
class EngineOptions(LoadOptions):
    """The same, and whether a server that holds the model already is asked in place of loading it."""

    server: Annotated[bool, *option("server")] = True


@dataclass(frozen=True)
class ManyOptions(EngineOptions):
    """Same as above, for a command with many requests."""

    concurrency: Annotated[int | None, *option("concurrency")] = None

    def spec(self) -> EngineSpec:
        return replace(super().spec(), concurrency=self.concurrency)


def _declares_sampling(group: type[T]) -> type[T]:
    """Make a class a dataclass with a field for each setting of `Sampling`, so that a new one is declared once."""
    names = {field.name for field in fields(Sampling)}
    for setting in SETTINGS.values():
        if setting.field in names:
            kind: Any = int if isinstance(setting.kind, Whole) else float
            hint = kind | None if setting.default is None else kind
            group.__annotations__[setting.field] = Annotated[hint, *option(setting.name)]
            setattr(group, setting.field, setting.default)
    return dataclass(frozen=True)(group)


@_declares_sampling
class SamplingOptions:
    """Sampling options; the defaults are Gemma 4's own."""

    def sampling(self, thinking: bool = False) -> Sampling:
        """The values as an engine takes them."""
        values: dict[str, Any] = vars(self).copy()
        if values["seed"] is None:
            values["seed"] = random_seed()
        if values["max_tokens"] is None:
            values["max_tokens"] = THOUGHT_TOKENS if thinking else ANSWER_TOKENS
        return Sampling(**values)


@dataclass(frozen=True)
class OutputOptions:
    """Options for output next to the answer, and its format."""

    as_json: Json = False
    stats: Annotated[bool, *option("stats")] = False
    quiet: Quiet = False


def examples(*lines: str) -> str:
    """Build the epilog of a command's help: one example per line."""
    return "\n".join(["Examples", *lines])


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: each field of one becomes an option of the command line.

    What is not given there is filled in from the preset that is, and from config.toml.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    spread: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            spread += _parameters(groups[parameter.name])
        else:
            spread.append(parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY))
    settings = settings_of(spread)
    wanted = [name for name, hint in hints.items() if hint is typer.Context]
    own = wanted[0] if wanted else "_invocation"
    if not wanted:
        spread.append(inspect.Parameter(own, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))

    @functools.wraps(command)
    def gathered(**values: Any) -> None:
        values |= configured(values[own], settings)
        if not wanted:
            del values[own]
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        with end_of_file_is_an_error():
            command(**values)

    gathered.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    gathered.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    return gathered


def given(context: typer.Context, *names: str) -> list[str]:
    """Those of the parameters that stand on the command line, and are not off."""
    return [name for name in names if context.params[name] and source_of(context, name) == "COMMANDLINE"]


def settings_of(parameters: Iterable[inspect.Parameter]) -> dict[str, Setting]:
    """The settings among the parameters of a command, by the parameter's name."""
    extras = {parameter.name: getattr(parameter.annotation, "__metadata__", ()) for parameter in parameters}
    found = {name: [extra for extra in each if isinstance(extra, Setting)] for name, each in extras.items()}
    return {name: settings[0] for name, settings in found.items() if settings}


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]
