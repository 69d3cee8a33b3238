"""`gemma sessions`: list, show, search, export and delete saved chats."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.options import Json, examples
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.views.sanitize import safe, safe_json, safe_line

app = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    epilog=examples(
        "gemma sessions",
        "gemma sessions search garden",
        "gemma sessions show holiday",
        "gemma sessions export holiday chat.json",
    ),
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a saved chat; gemma sessions lists the names.")]


@app.callback()
def sessions(context: typer.Context, as_json: Json = False) -> None:
    """List the saved chats, the latest first. To continue a chat, use gemma chat --session NAME."""
    if context.invoked_subcommand is not None:
        return
    from gemma_cli.repl.saved_chat import open_store

    found = open_store().list()
    if as_json:
        print(safe_json(json.dumps({"sessions": [asdict(summary) for summary in found]}, ensure_ascii=False)))
    for summary in [] if as_json else found:
        fields = (summary.name, f"{summary.messages} messages", summary.said_at[:10], summary.opening)
        print(safe_line("  ".join(fields)))


@app.command(epilog=examples("gemma sessions show holiday", "gemma sessions show holiday --json"))
def show(name: Name, as_json: Json = False) -> None:
    """Print a chat as markdown or JSON."""
    from gemma_cli.repl.saved_chat import open_store
    from gemma_cli.store.export import to_json, to_markdown

    _, conversation = open_store().load(name)
    sys.stdout.write(safe_json(to_json(name, conversation)) if as_json else safe(to_markdown(name, conversation)))


@app.command(epilog=examples("gemma sessions search garden party", "gemma sessions search 'garden party' 'tomat*'"))
def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORDS...", help="Words that must all occur in one message; put a phrase in quotation marks."
        ),
    ],
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=10_000, metavar="N", help="Maximum number of messages to print.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Search the text of all saved chats; the best match comes first."""
    from gemma_cli.repl.saved_chat import open_store
    from gemma_cli.store.search import match_line
    from gemma_cli.store.search import search as found_in

    found = found_in(open_store(), words, limit)
    if as_json:
        print(safe_json(json.dumps({"matches": [asdict(match) for match in found]}, ensure_ascii=False)))
    elif not found:
        raise GemmaError(f"no saved chat has a message that contains {' and '.join(words)}")
    else:
        print("\n".join(safe_line(match_line(match)) for match in found))


@app.command(epilog=examples("gemma sessions export holiday chat.md", "gemma sessions export holiday chat.json"))
def export(
    name: Name,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write: JSON if the name ends in .json, otherwise Markdown.")
    ],
) -> None:
    """Write a chat to a new file; existing files are not overwritten."""
    from gemma_cli.repl.saved_chat import open_store
    from gemma_cli.store.export import write

    _, conversation = open_store().load(name)
    write(file, name, conversation)


@app.command(epilog=examples("gemma sessions delete holiday"))
def delete(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Names of saved chats; gemma sessions lists the names."),
    ],
) -> None:
    """Delete chats, and attachments that no other chat uses."""
    from gemma_cli.repl.saved_chat import open_store

    store = open_store()
    missing = [name for name in names if not store.exists(name)]
    if missing:
        raise InputError(
            f"no saved chat is named '{missing[0]}', so nothing was deleted: gemma sessions lists the names"
        )
    for name in names:
        store.delete(name)
