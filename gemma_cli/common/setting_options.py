"""Command-line options made from the declared settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from gemma_cli.core.errors import UsageError
from gemma_cli.core.setting_kinds import Kind, Switch, Texts, Value, Words
from gemma_cli.core.settings import SETTINGS

Complete = Callable[[str], list[str]]


def option(name: str, complete: Complete | None = None) -> tuple[Any, ...]:
    """What `Annotated` takes for the option of a setting: Typer's description, and the setting itself.

    complete: the values to offer in a shell for what was typed.
    """
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
        autocompletion=complete or _words(kind),
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


def _words(kind: Kind) -> Complete | None:
    """The words among the values of a setting."""
    words = [word for word in kind.metavar.split("|") if ".." not in word and not word.isupper()]
    if isinstance(kind, Switch | Texts) or not words:
        return None
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]
