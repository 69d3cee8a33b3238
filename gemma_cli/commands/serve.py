"""`gemma serve`: the model behind the HTTP interface that OpenAI's clients speak."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from gemma_cli.commands.serve_parts.options import AccessOptions, AddressOptions, LifeOptions, LimitOptions
from gemma_cli.common.notices import notice
from gemma_cli.common.opening import start
from gemma_cli.common.options import LoadOptions, OutputOptions, Quiet, examples, grouped
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
    address: AddressOptions,
    access: AccessOptions,
    limits: LimitOptions,
    life: LifeOptions,
    quiet: Quiet = False,
) -> None:
    """Serve the model over HTTP with the OpenAI API. Your other gemma commands use the loaded model too.

    The server answers chats and raw completions, and transcribes and translates recordings. The same request and seed
    give the same text, however many requests run at once. The server writes one line of JSON per request to stderr.
    """
    spec = engine.spec()
    if spec.url:
        raise UsageError("gemma serve runs a model on this machine: leave --engine and GEMMA_ENGINE out")
    keys, origins = access.keys(), access.origins()
    over_http = not life.background or address.given(context)
    if over_http:
        _check_installed()
        if not (keys or address.local):
            raise UsageError(
                f"--host {address.host} lets other machines use the server, so an API key is required: set "
                "GEMMA_API_KEY or --api-key-file"
            )
    ready = None
    if life.background:
        _check_background(spec, over_http)
        ready = detach(state_dir() / "serve.log")
    with ExitStack() as stack:
        sock, where = stack.enter_context(address.listener()) if over_http else (None, "")
        asked = asked_for(spec)
        model = start(engine, OutputOptions(quiet=quiet))
        metrics = _metrics(model) if over_http else None
        activity = Activity(metrics)
        scheduler = scheduler_of(model, limits.max_running, limits.prefix_cache << 20)
        worker = Worker(scheduler, limits.max_queue, activity)
        stack.callback(worker.close)
        door = stack.enter_context(opened_to_commands(worker, model, asked))
        if life.idle_s:
            activity.end_when_idle(life.idle_s, worker, door)
        if ready:
            ready(
                f"gemma: {model.info.model} is loaded{f' and served at {where}' if over_http else ''}; "
                "to stop the server: gemma stop"
            )
        elif not quiet:
            notice(f"serving {model.info.model} at {where} (Ctrl-C stops the server)")
        if not (metrics and sock):
            stay(worker, limits.grace)
            return
        from gemma_cli.serve import listening
        from gemma_cli.serve.api.chat_request import Defaults
        from gemma_cli.serve.guard import Guard, Rules

        sizes = limits.max_body << 20, limits.max_upload << 20
        rules = Rules(access.hosts(address.host), keys, origins, *sizes, access_log=not quiet)
        defaults = Defaults(engine.drafting(), access.fetch)
        app = _application(model, worker, metrics, spec, address.alias or (), defaults)
        listening.serve(Guard(app, rules), sock, worker.drain, limits.grace)


def _check_background(spec: EngineSpec, over_http: bool) -> None:
    """Raise UsageError where no process can stay behind; exit where one holds the model already."""
    if not hasattr(os, "fork"):
        raise UsageError(
            "--background does not work on this system: run gemma serve without --background in a separate terminal"
        )
    if made() is None:
        raise UsageError("--background needs a private folder: set XDG_RUNTIME_DIR to a folder with mode 0700")
    if not over_http and (found := find(spec, lambda why: open_engine(spec))):
        found.close()
        notice(f"{found.info.model} is already loaded; to stop the server: gemma stop")
        raise typer.Exit


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
