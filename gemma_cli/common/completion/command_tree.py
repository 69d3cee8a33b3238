"""The commands and their options as plain data: for `gemma help --json` and for completion in a shell."""

from __future__ import annotations

from typing import Any

import typer

VALUES = {
    "--model": "models",
    "--device": "devices",
    "--preset": "presets",
    "--session": "sessions",
    "--language": "languages",
    "--from": "languages",
    "--to": "languages",
    "sessions show": "sessions",
    "sessions export": "sessions",
    "sessions delete": "sessions",
    "models pull": "releases",
    "models remove": "releases",
    "config set": "settings",
    "config unset": "settings",
    "config explain": "settings",
    "help": "commands",
}
"""Which names are offered for an option, and for the first argument of a command; see shell_completion.NAMES."""

EXIT_CODES = {
    "0": "done",
    "1": "the command failed, or at least one of several inputs failed",
    "2": "the command line or an input is wrong",
    "130": "interrupted",
}


def describe(command: Any, context: Any, path: str = "") -> dict[str, Any]:
    """A command with its options, arguments and subcommands; path: its name below gemma."""
    described: dict[str, Any] = {"help": (command.help or "").strip().partition("\n\n")[0].replace("\n", " ")}
    parameters = command.get_params(context)
    options, arguments = ([p for p in parameters if p.param_type_name == kind] for kind in ("option", "argument"))
    described["options"] = [_option(each, context) for each in options]
    described["arguments"] = [
        _argument(each, context, None if place else VALUES.get(path)) for place, each in enumerate(arguments)
    ]
    described["commands"] = {
        name: describe(*_below(command, context, name), f"{path} {name}".strip())
        for name in (command.list_commands(context) if hasattr(command, "list_commands") else ())
    }
    return described


def _below(command: Any, context: Any, name: str) -> tuple[Any, Any]:
    found = command.resolve_command(context, [name])[1]
    return found, typer.Context(found, parent=context, info_name=name)


def _option(option: Any, context: Any) -> dict[str, Any]:
    flags = [*option.opts, *option.secondary_opts]
    kind = None if option.is_flag else option.display_type_rich(context).strip("<>")
    return {
        "flags": flags,
        "help": option.help or "",
        "type": "flag" if option.is_flag else kind,
        "values": _words(kind or ""),
        "names": next((VALUES[flag] for flag in flags if flag in VALUES), None),
        "default": option.default if isinstance(option.default, str | int | float | bool) else None,
        "environment": option.envvar,
        "repeatable": bool(option.multiple),
        "required": bool(option.required),
    }


def _argument(argument: Any, context: Any, names: str | None) -> dict[str, Any]:
    return {
        "name": argument.display_name_raw,
        "help": argument.help or "",
        "values": _words(argument.display_type_rich(context).strip("<>")),
        "names": names,
        "repeatable": argument.nargs != 1,
        "required": bool(argument.required),
    }


def _words(kind: str) -> list[str]:
    """The words among the values of a parameter, from how --help shows its type."""
    words = kind.split("|") if "|" in kind else []
    return [word for word in words if word and ".." not in word and word == word.lower()]
