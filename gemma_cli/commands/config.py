"""`gemma config`: every setting, its value and where that comes from; set, unset and explain them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typer

from gemma_cli.commands.chat_parts.answer import SummaryOptions
from gemma_cli.commands.chat_parts.tools import ToolOptions
from gemma_cli.common.command_line.configured import Standing, standing
from gemma_cli.common.command_line.setting_options import option
from gemma_cli.common.options import ManyOptions, OutputOptions, SamplingOptions, examples, grouped, settings_of
from gemma_cli.core.setting import Setting
from gemma_cli.core.setting_kinds import Value
from gemma_cli.core.settings import SETTINGS, setting_named
from gemma_cli.store.config import PRESETS, Config, load_config
from gemma_cli.store.paths import config_file
from gemma_cli.views.sanitize import safe_json, safe_line

app = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    epilog=examples(
        "gemma config",
        "gemma config --preset brief --temperature 0",
        "gemma config set temperature 0.7",
        "gemma config set presets.brief.system 'Answer in one sentence.'",
        "gemma config unset temperature",
        "gemma config explain draft-tokens",
    ),
)

Key = Annotated[
    str,
    typer.Argument(metavar="KEY", help="Name of a setting, or presets.NAME.SETTING for a setting in a preset."),
]


@app.callback()
@grouped
def config(
    context: typer.Context,
    engine: ManyOptions,
    sampling: SamplingOptions,
    output: OutputOptions,
    tools: ToolOptions,
    summary: SummaryOptions,
    system: Annotated[str | None, *option("system")] = None,
    think: Annotated[bool, *option("think")] = False,
    show_thinking: Annotated[bool | None, *option("show-thinking")] = None,
    save: Annotated[bool | None, *option("save")] = None,
    detail: Annotated[int | None, *option("detail")] = None,
    language: Annotated[str | None, *option("language")] = None,
    to: Annotated[str | None, *option("to")] = None,
) -> None:
    """Show every setting, its value and the source of the value.

    With options such as --preset, the command shows the values that other commands would use with the same options.
    """
    if context.invoked_subcommand is not None:
        return
    found = in_force(context)
    if output.as_json:
        print(safe_json(json.dumps(_as_object(found, load_config()), ensure_ascii=False)))
    else:
        print("\n".join(_lines(found, load_config())))


@app.command("set", epilog=examples("gemma config set model e4b", "gemma config set draft-tokens auto"))
def set_value(
    key: Key,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="New value of the setting; separate the items of a list with commas.")
    ],
) -> None:
    """Write a setting to config.toml. Other settings and comments in the file do not change."""
    from gemma_cli.store.config_edit import set_key

    set_key(key, value)


@app.command(epilog=examples("gemma config unset model", "gemma config unset presets.brief"))
def unset(key: Key) -> None:
    """Remove a setting, or a preset, from config.toml."""
    from gemma_cli.store.config_edit import unset_key

    unset_key(key)


@app.command(epilog=examples("gemma config explain temperature", "gemma config explain save"))
def explain(context: typer.Context, key: Key) -> None:
    """Explain a setting: purpose, possible values, ways to set a value, and current value."""
    setting = setting_named(key)
    row = in_force(cast("typer.Context", context.parent))[setting.name]
    print("\n".join(safe_line(line) for line in _explained(setting, row)))


@dataclass(frozen=True)
class Row:
    """A line of the table. value: as in config.toml, or in brackets the default."""

    standing: Standing
    value: str
    source: str

    def as_object(self) -> dict[str, Any]:
        return {"value": _value(self.standing.value), "source": self.standing.source}


def in_force(context: typer.Context) -> dict[str, Row]:
    """Return the current value of every setting, by name. Raises UsageError."""
    parameters = settings_of(inspect.signature(config).parameters.values())
    found = standing(context, parameters)
    named = {setting.name: _row(setting, found[name], context) for name, setting in parameters.items()}
    return {name: named[name] for name in SETTINGS}


def _row(setting: Setting, held: Standing, context: typer.Context) -> Row:
    unset = held.source == "default" and setting.default is None
    value = f"({setting.unset})" if unset else setting.kind.shown(_value(held.value))
    match held.source:
        case "environment":
            source = f"environment {held.variable or setting.variable}"
        case "preset":
            source = f"preset {context.params['preset']}"
        case _:
            source = str(held.source)
    return Row(held, value, source)


def _explained(setting: Setting, row: Row) -> list[str]:
    rows = {
        "takes": setting.kind.takes,
        "default": setting.default_text,
        "now": f"{row.value} ({row.source})",
        "option": f"{', '.join(setting.options)} of {', '.join(setting.commands)}",
        "environment": setting.variable or "",
        "config.toml": f"{setting.name} = ... in {config_file()}, at the top or under [{PRESETS}.NAME]",
        "in a chat": setting.slash + (f" {setting.name}" if setting.slash == "/set" else ""),
    }
    width = max(map(len, rows))
    return [f"{setting.name}: {setting.help}", *(f"  {name:{width}}  {text}" for name, text in rows.items() if text)]


def _lines(rows: Mapping[str, Row], file: Config) -> list[str]:
    names, sources = max(map(len, rows)), max(len(row.source) for row in rows.values())
    lines = [str(file.path)]
    lines += [f"{name:{names}}  {row.source:{sources}}  {row.value}" for name, row in rows.items()]
    for name in file.presets:
        lines.append(f"--preset {name}  {file.descriptions[name]}".rstrip())
    return [safe_line(line) for line in lines]


def _value(value: Any) -> Value:
    return tuple(map(str, value)) if isinstance(value, list) else value


def _as_object(rows: Mapping[str, Row], file: Config) -> dict[str, Any]:
    return {
        "file": str(file.path),
        "settings": {name: row.as_object() | {"default": SETTINGS[name].default_text} for name, row in rows.items()},
        "presets": {name: dict(values) for name, values in file.presets.items()},
    }
