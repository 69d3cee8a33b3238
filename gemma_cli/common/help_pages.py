"""The page that --help prints: names of options in full at any width, with their help next to them or below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDEST = 100
"""Columns of a page at most: longer lines are hard to read."""

NAMES = 32
"""Columns for names on a page of 80 columns or more; longer ones get a line of their own."""

COMMANDS = "Commands"
OPTION = r"(?<!\S)--?[a-zA-Z][\w-]*"
FACTS = r"\[(?:env var|default|required|[-\d.]*<?=?x)[^\]]*\]$"

TYPES = {"<int range>": "N", "<float range>": "X", "<int>": "N", "<float>": "X", "<str>": "TEXT"}
"""What an option takes, where it does not say so in its own words."""

Rows = list[tuple[str, str]]


def print_readably(command: Any) -> Any:
    """Return the command with its --help, and that of its subcommands, printed by `print_help`."""
    for each in (command, *getattr(command, "commands", {}).values()):
        each.format_help = lambda context, formatter, own=each: print_help(own, context)
    return command


def print_help(command: Any, context: Any) -> None:
    """Print usage, help, arguments, options by panel, subcommands and examples."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, emoji=False, markup=False)
    console.width = min(console.width, WIDEST)
    console.print(Text(command.get_usage(context).strip(), style="bold"), end="\n\n")
    for paragraph in (command.help or "").strip().split("\n\n"):
        console.print(" ".join(paragraph.split()), end="\n\n")
    for title, rows in _sections(command, context):
        column = min(NAMES, console.width * 2 // 5)
        if title == COMMANDS:
            column = max(cell_len(name) for name, _ in rows) + 4
        console.print(Text(title, style="bold"))
        for names, text in rows:
            console.print(*_lines(console, names, text, column), sep="\n")
        console.print()
    if command.epilog:
        title, *lines = command.epilog.splitlines()
        console.print(Text(title, style="bold"), *(f"  {line}" for line in lines), sep="\n", soft_wrap=True)


def _sections(command: Any, context: Any) -> Iterator[tuple[str, Rows]]:
    """Yield each title with its rows of names and help."""
    parameters = command.get_params(context)
    arguments = [
        (each.display_name_raw + ("..." if each.nargs != 1 else ""), each.help or "")
        for each in parameters
        if each.param_type_name == "argument" and not each.hidden
    ]
    panels: dict[str, Rows] = {"Arguments": arguments, "Options": []}
    for option in (each for each in parameters if each.param_type_name == "option"):
        if (record := option.get_help_record(context)) is not None:
            names, text = record
            for kind, word in TYPES.items():
                names = names.replace(kind, word)
            panel = getattr(option, "rich_help_panel", None) or "Options"
            panels.setdefault(panel, []).append((names if names[1] != "-" else f"    {names}", text))
    panels[COMMANDS] = list(_commands(command, context))
    yield from ((title, rows) for title, rows in panels.items() if rows)


def _commands(command: Any, context: Any) -> Iterable[tuple[str, str]]:
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield name, (command.get_command(context, name).help or "").strip().partition("\n\n")[0]


def _lines(console: Console, names: str, text: str, column: int) -> Iterator[Text]:
    """Yield the lines of one row; column: where its help begins."""
    from rich.text import Text

    left, right = Text(f"  {names}"), Text(" ".join(text.split()))
    left.highlight_regex(OPTION, "bold cyan")
    right.highlight_regex(FACTS, "dim")
    if left.cell_len + 2 > column:
        yield left
        left = Text()
    for line in right.wrap(console, console.width - column):
        left.truncate(column, pad=True)
        line.rstrip()
        yield left + line
        left = Text()
