"""`gemma serve`: the model behind the HTTP interface that OpenAI's clients speak."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from gemma_cli.common.command_line.configured import source_of
from gemma_cli.common.notices import notice
from gemma_cli.common.opening import start
from gemma_cli.common.options import LoadOptions, OutputOptions, Quiet, examples, grouped
from gemma_cli.common.text_input import read_text
from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.core.errors import UsageError
from gemma_cli.engines import open_engine
from gemma_cli.engines.warm.engine import find
from gemma_cli.engines.warm.place import asked_for, made
from gemma_cli.serve.background import Activity, detach, stay
from gemma_cli.serve.warm import opened_to_commands
from gemma_cli.serve.worker import Worker, scheduler_of
from gemma_cli.store.models.releases import short_name
from gemma_cli.store.paths import state_dir

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from gemma_cli.serve.api.chat_request import Defaults
    from gemma_cli.serve.metrics import Metrics

LIMITS = "Limits"
ACCESS = "Who may use it"
LIFE = "How long it runs"
BACKGROUND_IDLE_S = 1800.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NEEDED = ("starlette", "uvicorn", "multipart", "prometheus_client")

EXAMPLES = examples(
    "gemma serve",
    "gemma serve --background; gemma chat Hello; gemma stop",
    "gemma serve --model e4b --quantize int8 --port 9000",
    "gemma serve --socket ~/.cache/gemma.sock",
    "GEMMA_API_KEY=secret gemma serve --host 0.0.0.0 --allowed-host gemma.example.org",
    "curl http://127.0.0.1:8000/v1/models",
    "curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@talk.mp3 -F response_format=srt",
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def serve(
    context: typer.Context,
    engine: LoadOptions,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free port.")] = 8000,
    path: Annotated[
        Path | None,
        typer.Option(
            "--socket", metavar="PATH", help="Listen on a Unix socket that only this user can open, instead of a port."
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", metavar="NAME", help="Additional name of the model in requests; repeatable."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="GEMMA_API_KEY",
            metavar="KEY",
            show_envvar=True,
            help="Key that requests must send. Other users can see it here; a key file or the environment is safer.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="File of keys, one per line.", rich_help_panel=ACCESS),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="Additional name to accept in the Host header; repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-origin",
            metavar="ORIGIN",
            help="Let web pages of this origin use the server: https://chat.example.org; repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch/--no-fetch", help="Fetch images that requests give as URLs.", rich_help_panel=ACCESS),
    ] = False,
    max_running: Annotated[
        int,
        typer.Option("--max-running", min=1, help="Replies generated at the same time.", rich_help_panel=LIMITS),
    ] = 16,
    prefix_cache: Annotated[
        int,
        typer.Option(
            "--prefix-cache",
            min=0,
            metavar="MIB",
            help="Memory for prompts that later ones may begin like; 0 keeps none.",
            rich_help_panel=LIMITS,
        ),
    ] = 256,
    max_queue: Annotated[
        int,
        typer.Option(
            "--max-queue", min=0, help="Requests that may wait; further ones get 429.", rich_help_panel=LIMITS
        ),
    ] = 64,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1, metavar="MIB", help="Largest JSON body.", rich_help_panel=LIMITS)
    ] = 64,
    max_upload: Annotated[
        int, typer.Option("--max-upload", min=1, metavar="MIB", help="Largest recording.", rich_help_panel=LIMITS)
    ] = 2048,
    grace: Annotated[
        int,
        typer.Option(
            "--grace",
            min=0,
            metavar="SECONDS",
            help="Time for running requests to finish after SIGTERM or Ctrl-C.",
            rich_help_panel=LIMITS,
        ),
    ] = 30,
    background: Annotated[
        bool,
        typer.Option(
            "--background",
            help="Return once the model is loaded, and hold it for your other commands; at no port if none is given.",
            rich_help_panel=LIFE,
        ),
    ] = False,
    idle_timeout: Annotated[
        float | None,
        typer.Option(
            "--idle-timeout",
            min=0,
            metavar="SECONDS",
            help="End after so long without a request; 0: never. Default: never; with --background half an hour.",
            rich_help_panel=LIFE,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Serve the model over HTTP to any client of OpenAI's API, and hold it for your other commands.

    Chat, raw completions, transcripts and translations of recordings. A reply does not depend on load: the same
    request and seed give the same text. One line of JSON per request goes to stderr.
    """
    spec = engine.spec()
    if spec.url:
        raise UsageError("gemma serve runs a model on this machine: leave --engine and GEMMA_ENGINE out")
    keys = _keys(api_key, api_key_file)
    over_http = not background or any(source_of(context, name) != "DEFAULT" for name in ("host", "port", "path"))
    if over_http:
        _check_installed()
        if not (keys or path is not None or host in LOOPBACK):
            raise UsageError(f"--host {host} can be reached from other machines: set GEMMA_API_KEY or --api-key-file")
    hosts = {"127.0.0.1", "::1", "localhost", host.strip("[]").lower(), *(name.lower() for name in allowed_host or ())}
    origins = tuple(_origin(origin) for origin in allowed_origin or ())
    ready = None
    if background:
        _check_background(spec, over_http)
        ready = detach(state_dir() / "serve.log")
    idle_s = idle_timeout if idle_timeout is not None else BACKGROUND_IDLE_S if background else 0
    with ExitStack() as stack:
        sock, where = stack.enter_context(_listener(host, port, path)) if over_http else (None, "")
        asked = asked_for(spec)
        model = start(engine, OutputOptions(quiet=quiet))
        metrics = _metrics(model) if over_http else None
        activity = Activity(metrics)
        worker = Worker(scheduler_of(model, max_running, prefix_cache << 20), max_queue, activity)
        stack.callback(worker.close)
        door = stack.enter_context(opened_to_commands(worker, model, asked))
        if idle_s:
            activity.end_when_idle(idle_s, worker, door)
        if ready:
            ready(f"gemma: {model.info.model} is held{f' at {where}' if over_http else ''} (gemma stop ends it)")
        elif not quiet:
            notice(f"serving {model.info.model} at {where} (Ctrl-C ends)")
        if not (metrics and sock):
            stay(worker, grace)
            return
        from gemma_cli.serve import listening
        from gemma_cli.serve.api.chat_request import Defaults
        from gemma_cli.serve.guard import Guard, Rules

        rules = Rules(hosts, keys, origins, max_body << 20, max_upload << 20, access_log=not quiet)
        app = _application(model, worker, metrics, spec, alias or (), Defaults(engine.drafting(), fetch))
        listening.serve(Guard(app, rules), sock, worker.drain, grace)


def _check_background(spec: EngineSpec, over_http: bool) -> None:
    """Raise UsageError where no process can stay behind; exit where one holds the model already."""
    if not hasattr(os, "fork"):
        raise UsageError("--background: this system cannot; run gemma serve in a window of its own")
    if made() is None:
        raise UsageError("--background: no folder is yours alone; set XDG_RUNTIME_DIR to one of mode 0700")
    if not over_http and (found := find(spec, lambda why: open_engine(spec))):
        found.close()
        notice(f"{found.info.model} is held already (gemma stop ends it)")
        raise typer.Exit


def _origin(text: str) -> str:
    """The origin of web pages as browsers write it. Raises UsageError."""
    parts = urlsplit(text.strip().rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query or "*" in text:
        raise UsageError(f"--allowed-origin {text}: not an origin; write it as https://chat.example.org")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _listener(host: str, port: int, path: Path | None) -> AbstractContextManager[tuple[socket, str]]:
    from gemma_cli.serve.listening import Address, listener

    return listener(Address(host, port, path))


def _metrics(model: Engine) -> Metrics:
    from gemma_cli.serve.metrics import Metrics

    return Metrics(model.info.model)


def _application(
    model: Engine, worker: Worker, metrics: Metrics, spec: EngineSpec, aliases: Iterable[str], defaults: Defaults
) -> ASGIApp:
    """The application that answers for the model."""
    from gemma_cli.common.receipts import receipt_of
    from gemma_cli.serve.app import Service, application

    metrics.watch(worker)
    info = model.info
    names = dict.fromkeys((info.model, short_name(info.model), *aliases))
    return application(Service(model, worker, metrics, receipt_of(info, spec), defaults, names, int(time.time())))


def _check_installed() -> None:
    """Raise UsageError where the extra is missing."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UsageError(f"gemma serve needs {missing[0]}: pip install 'gemma-cli[serve]'")


def _keys(key: str | None, file: Path | None) -> tuple[str, ...]:
    """The keys that requests may send. Raises UsageError for one that is empty."""
    keys = [key] if key is not None else []
    if file is not None:
        keys += [line.strip() for line in read_text(file).splitlines() if line.strip()]
        if not keys:
            raise UsageError(f"{file}: holds no key; write one on each line")
    if not all(each.strip() and each.isascii() and each.isprintable() for each in keys):
        raise UsageError("an API key is printable ASCII and not empty")
    return tuple(keys)
