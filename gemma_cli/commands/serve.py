"""`gemma serve`: the model behind the HTTP interface that OpenAI's clients speak."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.notices import notice
from gemma_cli.common.opening import start
from gemma_cli.common.options import EngineOptions, OutputOptions, Quiet, examples, grouped
from gemma_cli.common.text_input import read_text
from gemma_cli.core.errors import UsageError
from gemma_cli.store.models.checkpoints import resolve
from gemma_cli.store.models.releases import short_name

LIMITS = "Limits"
ACCESS = "Who may use it"
NEEDED = ("starlette", "uvicorn", "multipart", "prometheus_client")

EXAMPLES = examples(
    "gemma serve",
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
    engine: EngineOptions,
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
    quiet: Quiet = False,
) -> None:
    """Serve the model over HTTP to any client of OpenAI's API.

    Chat, raw completions, transcripts and translations of recordings. A reply does not depend on load: the same
    request and seed give the same text. One line of JSON per request goes to stderr.
    """
    _check_installed()
    from gemma_cli.serve.listening import Address, listener

    if engine.spec().url:
        raise UsageError("gemma serve runs a model on this machine: leave --engine and GEMMA_ENGINE out")
    address = Address(host, port, path)
    keys = _keys(api_key, api_key_file)
    if not (keys or address.private):
        raise UsageError(f"--host {host} can be reached from other machines: set GEMMA_API_KEY or --api-key-file")
    hosts = {"127.0.0.1", "::1", "localhost", host.strip("[]").lower(), *(name.lower() for name in allowed_host or ())}
    with listener(address) as (sock, where):
        from gemma_cli.serve import listening
        from gemma_cli.serve.api.chat_request import Defaults
        from gemma_cli.serve.api.receipt import Receipt, checkpoint_hash
        from gemma_cli.serve.app import Service, application
        from gemma_cli.serve.guard import Guard, Rules
        from gemma_cli.serve.metrics import Metrics
        from gemma_cli.serve.worker import Worker, scheduler_of

        model = start(engine, OutputOptions(quiet=quiet))
        info = model.info
        metrics = Metrics(info.model)
        worker = Worker(scheduler_of(model, max_running, prefix_cache << 20), max_queue, metrics)
        metrics.watch(worker)
        found = None if ":" in info.model else resolve(engine.model, engine.assistant)  # synthetic:, scripted:
        hashes = (checkpoint_hash(found.folder), checkpoint_hash(found.assistant_folder)) if found else (None, None)
        receipt = Receipt(info, *hashes)
        names = dict.fromkeys((info.model, short_name(info.model), *(alias or ())))
        defaults = Defaults(engine.drafting(), fetch)
        service = Service(worker, metrics, receipt, defaults, names, int(time.time()))
        rules = Rules(hosts, keys, max_body << 20, max_upload << 20, access_log=not quiet)
        if not quiet:
            notice(f"serving {info.model} at {where} (Ctrl-C ends)")
        try:
            listening.serve(Guard(application(service), rules), sock, worker.drain, grace)
        finally:
            worker.close()


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
