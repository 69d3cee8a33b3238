"""`gemma stop`: stop or list the running servers of this user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gemma_cli.common.options import Json, examples
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.engines.warm import place, wire
from gemma_cli.engines.warm.engine import dial
from gemma_cli.store.models.releases import full_name
from gemma_cli.views.sanitize import safe_json, safe_line

LONGEST_S = 60.0
"""How long a server has to finish what it is answering, and half as long again: see gemma serve --grace."""

app = typer.Typer(add_completion=False)


@app.command(epilog=examples("gemma stop", "gemma stop e4b", "gemma stop --list"))
def stop(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Stop only the servers that have loaded this model."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List your running servers and stop nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Stop all your running gemma serve processes, including those in the background.

    Each server finishes its running replies first.
    """
    found = []
    for path in place.sockets():
        who = _asked(path, {"who": True})
        if who and (model is None or full_name(model) == who["model"]):
            if not listed:
                who = _asked(path, {"stop": True}, until_gone=True) or who
            found.append({"model": who["model"], "pid": who["pid"]})
    if as_json:
        print(safe_json(json.dumps(found)))
    elif found:
        form = "process {pid} serves {model}" if listed else "process {pid}, which served {model}, has stopped"
        print("\n".join(safe_line(form.format(**each)) for each in found))
    elif model is not None:
        raise UsageError(f"none of your servers has loaded {model}: gemma stop --list shows the running servers")
    else:
        print("none of your servers is running")


def _asked(path: Path, order: dict[str, bool], until_gone: bool = False) -> dict[str, Any] | None:
    """What a server answers to an order; None where none listens. Raises GemmaError for one that does not end."""
    connection = dial(path)
    if connection is None:
        return None
    with connection:
        try:
            wire.write(connection, order)
            answer: dict[str, Any] = wire.read(connection)
        except wire.Broken:
            return None
        if until_gone:
            connection.settimeout(LONGEST_S)
            try:
                if connection.recv(1):
                    return None
            except TimeoutError:
                raise GemmaError(
                    f"process {answer['pid']} did not stop: to end the process, run kill {answer['pid']}"
                ) from None
            except OSError:
                pass
        return answer
