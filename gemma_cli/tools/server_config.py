"""The configuration of MCP servers, in the form that other programs read: {"mcpServers": {NAME: {...}, ...}}.

A server has a `command` (with `args`, `env`, `cwd`), which is started and spoken to over its standard streams, or a
`url` (with `headers`), which is spoken to over streamable HTTP. What else stands there is for other programs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from gemma_cli.core.errors import InputError, UsageError


@dataclass(frozen=True)
class Local:
    """A server that runs as a program on this machine."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None


@dataclass(frozen=True)
class Remote:
    """A server behind a URL."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


Server = Local | Remote


@validated
class _Entry:
    command: str | None = None
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    type: str | None = None
    disabled: bool = False


@validated
class _Document:
    mcpServers: dict[str, _Entry]


def read(path: Path) -> list[Server]:
    """The servers of a configuration. Raises InputError, UsageError."""
    try:
        document = TypeAdapter(_Document).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"--mcp {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"--mcp {path}: {place}: {first['msg']}; the file must contain {{'mcpServers': {{NAME: ...}}}}"
        ) from error
    except ValueError as error:
        raise InputError(f"--mcp {path}: not JSON: {error}") from error
    return [_server(path, name, entry) for name, entry in document.mcpServers.items() if not entry.disabled]


def _server(path: Path, name: str, entry: _Entry) -> Server:
    if entry.url and not entry.command:
        if entry.type == "sse":
            raise UsageError(
                f"--mcp {path}: {name}: the SSE transport is not "
                "supported; give the url of the server's streamable HTTP"
            )
        return Remote(name, entry.url, entry.headers)
    if entry.command and not entry.url:
        return Local(name, entry.command, tuple(entry.args), entry.env, entry.cwd)
    raise UsageError(f"--mcp {path}: give the server {name} either a command or a url")
