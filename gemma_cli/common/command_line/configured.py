"""Which value of a setting holds, and where it comes from.

An option of the command line comes before a preset, a preset before the environment, and the environment before
config.toml. A preset is named on the command line, so it is a short way to write options.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import typer

from gemma_cli.core.records import dataclass
from gemma_cli.core.setting import Setting
from gemma_cli.core.setting_kinds import Value
from gemma_cli.store.config import Config, load_config

Source = Literal["option", "preset", "environment", "config.toml", "default"]

UNATTENDED = ("AI_AGENT", "CI")
"""Set by agents and by continuous integration: notices and progress are left out, as with --quiet."""

RESOLVED_LATER = ("model", "assistant")
"""Left to store.models.checkpoints where config.toml sets them: the drafter there belongs to the model there."""


@dataclass(frozen=True)
class Standing:
    """A value that holds and its source. variable: the environment variable, where it is another than the setting's."""

    value: Value
    source: Source
    variable: str = ""


def standing(context: typer.Context, settings: Mapping[str, Setting]) -> dict[str, Standing]:
    """Return the values of a command line's settings, by parameter. Raises UsageError."""
    config = load_config()
    name = context.params.get("preset")
    preset = dict(config.preset(name)) if name else {}
    found = {}
    for parameter, setting in settings.items():
        source = source_of(context, parameter)
        value = context.params[parameter]
        if source == "COMMANDLINE":
            found[parameter] = Standing(value, "option")
        elif setting.name in preset:
            found[parameter] = Standing(_anchored(setting, preset[setting.name], config), "preset")
        elif source == "ENVIRONMENT":
            found[parameter] = Standing(value, "environment")
        elif setting.name in config.values:
            found[parameter] = Standing(_anchored(setting, config.values[setting.name], config), "config.toml")
        elif setting.name == "quiet" and (variable := unattended()):
            found[parameter] = Standing(True, "environment", variable)
        else:
            found[parameter] = Standing(value, "default")
    return _with_its_drafter(found, preset)


def unattended() -> str:
    """The variable that tells that no person reads along; "" where none does."""
    return next((name for name in UNATTENDED if os.environ.get(name, "").lower() not in ("", "0", "false", "no")), "")


def source_of(context: typer.Context, parameter: str) -> str:
    """Return the source of a parameter's value: COMMANDLINE, ENVIRONMENT or DEFAULT."""
    source = context.get_parameter_source(parameter)
    return source.name if source else "DEFAULT"


def configured(context: typer.Context, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The values of the parameters that a preset or config.toml sets. Raises UsageError."""
    if not settings and "preset" not in context.params:
        return {}
    return {
        parameter: list(held.value) if isinstance(held.value, tuple) else held.value
        for parameter, held in standing(context, settings).items()
        if held.source == "preset" or (held.source == "config.toml" and parameter not in RESOLVED_LATER)
    }


def _with_its_drafter(found: dict[str, Standing], preset: Mapping[str, Value]) -> dict[str, Standing]:
    """`found` without the drafter of a preset whose model was overruled."""
    model, assistant = found.get("model"), found.get("assistant")
    if model and assistant and assistant.source == "preset" and "model" in preset and model.source != "preset":
        return found | {"assistant": Standing(None, "default")}
    return found


def _anchored(setting: Setting, value: Value, config: Config) -> Value:
    """`value` with its files looked for beside config.toml: what a folder holds is not run because one is in it."""
    folder = config.path.parent if config.path else Path()
    match value:
        case tuple() if setting.files:
            return tuple(str(folder / Path(text).expanduser()) for text in value)
        case str() if setting.files and value.startswith("@") and not value.startswith("@@"):
            return f"@{folder / Path(value[1:]).expanduser()}"
    return value
