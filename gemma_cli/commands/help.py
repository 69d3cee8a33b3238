"""`gemma help`: the help of a command, or all commands as JSON for programs."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

import typer

from gemma_cli import __version__
from gemma_cli.common.completion.command_tree import EXIT_CODES, describe
from gemma_cli.common.options import Json, examples
from gemma_cli.core.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command("help", epilog=examples("gemma help chat", "gemma help config set", "gemma help --json"))
def show_help(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Name of a command.")] = None,
    as_json: Json = False,
) -> None:
    """Print the help of a command.

    With --json, print all commands with options, types and exit codes, for use by programs.
    """
    root = context.find_root()
    if as_json:
        described = {"name": "gemma", "version": __version__, "exit_codes": EXIT_CODES, **describe(root.command, root)}
        print(json.dumps(_below(described, command or []), ensure_ascii=False))
        return
    found: Any = root.command
    where: Any = root
    for name in command or ():
        if not hasattr(found, "resolve_command") or name not in found.commands:
            raise UsageError(f"there is no command {' '.join(command or ())}: gemma --help lists the commands")
        found = found.resolve_command(where, [name])[1]
        where = typer.Context(found, parent=where, info_name=name)
    print(found.get_help(cast("typer.Context", where)))


def _below(described: dict[str, Any], names: list[str]) -> dict[str, Any]:
    for name in names:
        if name not in described["commands"]:
            raise UsageError(f"there is no command {' '.join(names)}: gemma --help lists the commands")
        described = described["commands"][name]
    return described
