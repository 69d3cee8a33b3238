"""Options of `gemma serve`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Annotated
from urllib.parse import urlsplit

import typer

from gemma_cli.common.command_line.configured import source_of
from gemma_cli.common.text_input import read_text
from gemma_cli.core.errors import UsageError

LIMITS = "Limits"
ACCESS = "Who may use it"
LIFE = "How long it runs"
BACKGROUND_IDLE_S = 1800.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class AddressOptions:
    """Where the server listens, and the names of the model."""

    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 chooses a free port.")] = (
        8000
    )
    path: Annotated[
        Path | None,
        typer.Option(
            "--socket", metavar="PATH", help="Listen on a Unix socket that only this user can open, instead of a port."
        ),
    ] = None
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", metavar="NAME", help="Accept this additional model name in requests; repeatable."),
    ] = None

    @property
    def local(self) -> bool:
        """Whether other machines cannot reach it."""
        return self.path is not None or self.host in LOOPBACK

    def given(self, context: typer.Context) -> bool:
        """Whether the command line, the environment or a preset names an address."""
        return any(source_of(context, name) != "DEFAULT" for name in ("host", "port", "path"))

    def listener(self) -> AbstractContextManager[tuple[socket, str]]:
        """Return a context with the listening socket and its address."""
        from gemma_cli.serve.listening import Address, listener

        return listener(Address(self.host, self.port, self.path))


@dataclass(frozen=True)
class AccessOptions:
    """Who may use the server."""

    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="GEMMA_API_KEY",
            metavar="KEY",
            show_envvar=True,
            help="API key that requests must send. Other users of this machine "
            "can see a key on the command line; --api-key-file is safer.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            help="File with the API keys that requests may send, one key per line.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="Accept this additional host name in the Host header of requests; repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-origin",
            metavar="ORIGIN",
            help="Let web pages of this origin, for example https://chat.example.org, use the server; repeatable.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch/--no-fetch",
            help="Let the server download images when a request contains image URLs.",
            rich_help_panel=ACCESS,
        ),
    ] = False

    def keys(self) -> tuple[str, ...]:
        """Return the keys of which a request must send one. Raises UsageError for an empty key."""
        keys = [self.api_key] if self.api_key is not None else []
        if self.api_key_file is not None:
            keys += [line.strip() for line in read_text(self.api_key_file).splitlines() if line.strip()]
            if not keys:
                raise UsageError(f"{self.api_key_file}: the file has no API key; write one key per line")
        if not all(key.strip() and key.isascii() and key.isprintable() for key in keys):
            raise UsageError(
                "--api-key or --api-key-file: a key is empty or has "
                "characters other than printable ASCII; use another key"
            )
        return tuple(keys)

    def hosts(self, host: str) -> set[str]:
        """Return the accepted values of the Host header. host: the address of the server."""
        return {*LOOPBACK, host.strip("[]").lower(), *(name.lower() for name in self.allowed_host or ())}

    def origins(self) -> tuple[str, ...]:
        """Return the origins of web pages that may use the server. Raises UsageError."""
        return tuple(_origin(origin) for origin in self.allowed_origin or ())


@dataclass(frozen=True)
class LimitOptions:
    """How much the server takes at once."""

    max_running: Annotated[
        int,
        typer.Option(
            "--max-running", min=1, help="Maximum number of replies generated at the same time.", rich_help_panel=LIMITS
        ),
    ] = 16
    prefix_cache: Annotated[
        int,
        typer.Option(
            "--prefix-cache",
            min=0,
            metavar="MIB",
            help="Memory for the prefix cache, which speeds up prompts that begin alike; 0: no cache.",
            rich_help_panel=LIMITS,
        ),
    ] = 256
    max_queue: Annotated[
        int,
        typer.Option(
            "--max-queue",
            min=0,
            help="Maximum number of waiting requests; further requests get status 429.",
            rich_help_panel=LIMITS,
        ),
    ] = 64
    max_body: Annotated[
        int,
        typer.Option(
            "--max-body",
            min=1,
            metavar="MIB",
            help="Maximum size of the JSON body of a request.",
            rich_help_panel=LIMITS,
        ),
    ] = 64
    max_upload: Annotated[
        int,
        typer.Option(
            "--max-upload", min=1, metavar="MIB", help="Maximum size of an uploaded recording.", rich_help_panel=LIMITS
        ),
    ] = 2048
    grace: Annotated[
        int,
        typer.Option(
            "--grace",
            min=0,
            metavar="SECONDS",
            help="After SIGTERM or Ctrl-C, wait this long for running requests to finish.",
            rich_help_panel=LIMITS,
        ),
    ] = 30


@dataclass(frozen=True)
class LifeOptions:
    """How long the server runs."""

    background: Annotated[
        bool,
        typer.Option(
            "--background",
            help="Run the server in the background for your gemma commands. "
            "The server opens a port only with --port or --host.",
            rich_help_panel=LIFE,
        ),
    ] = False
    idle_timeout: Annotated[
        float | None,
        typer.Option(
            "--idle-timeout",
            min=0,
            metavar="SECONDS",
            help="Stop the server after this many seconds without a "
            "request; 0: never. Default: 0, or 1800 with --background.",
            rich_help_panel=LIFE,
        ),
    ] = None

    @property
    def idle_s(self) -> float:
        """Seconds without a request after which the server ends; 0: never."""
        if self.idle_timeout is not None:
            return self.idle_timeout
        return BACKGROUND_IDLE_S if self.background else 0


def _origin(text: str) -> str:
    """The origin of web pages as browsers write it. Raises UsageError."""
    parts = urlsplit(text.strip().rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query or "*" in text:
        raise UsageError(
            f"--allowed-origin {text}: not the origin of a web page; write an origin such as https://chat.example.org"
        )
    return f"{parts.scheme}://{parts.netloc}".lower()
