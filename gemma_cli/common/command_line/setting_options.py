"""Command-line options made from the declared settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from gemma_cli.core.errors import UsageError
from gemma_cli.core.setting_kinds import Kind, Switch, Texts, Value, Words
from gemma_cli.core.settings import SETTINGS


def option(name: str) -> tuple[Any, ...]:
    """Build the `Annotated` metadata of a setting's option: Typer's description, and the setting itself."""
    setting = SETTINGS[name]
    kind = setting.kind
    text = f"{setting.help} Default: {setting.unset}." if setting.unset else setting.help
    declared = typer.Option(
        *setting.options,
        envvar=setting.variable,
        parser=None if isinstance(kind, Switch | Texts | Words) else _parser(kind),
        metavar=kind.metavar,
        help=text,
        rich_help_panel=setting.panel,
    )
    return declared, setting


def ranged(name: str, text: str = "") -> Any:
    """Typer's description of an option with the range of a setting, but a default of its command's own."""
    setting = SETTINGS[name]
    return typer.Option(
        *setting.options,
        parser=_parser(setting.kind),
        metavar=setting.kind.metavar,
        help=text or setting.help,
        rich_help_panel=setting.panel,
    )


def _parser(kind: Kind) -> Callable[[Any], Value]:
    def parse(value: Any) -> Value:
        try:
            return kind.parse(value) if isinstance(value, str) else kind.check(value)
        except (ValueError, UsageError):
            raise typer.BadParameter(f"{value} is not {kind.takes}.") from None

    return parse
