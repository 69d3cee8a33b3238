"""Tools of MCP servers: started together, once for a chat, and stopped with it.

The servers are spoken to from an event loop in a thread of its own (anyio's blocking portal); a call waits for its
answer in the caller's thread, where Ctrl-C cancels it. What a server writes to stderr goes to a file nobody is shown
but for its last line, where the server does not start.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, cast

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from gemma_cli.core.errors import GemmaError
from gemma_cli.tools import TIME_LIMIT_S, Tool, ToolFailed, too_late
from gemma_cli.tools.schemas import plain
from gemma_cli.tools.server_config import Local, Server

if TYPE_CHECKING:
    from mcp import Client
    from mcp import types as mcp

START_S = 60.0
"""Seconds a server may take to start and list its tools: the first start of one may install it."""

READ_S = 300.0
"""Seconds without a byte after which a remote server is given up."""

MOST_PAGES = 100
"""Pages of a list of tools that are read; one that never ends would be read for ever."""


@contextmanager
def started(
    servers: Sequence[Server], patience: float = START_S, limit_s: float = TIME_LIMIT_S
) -> Iterator[list[Tool]]:
    """The tools of all `servers`. Raises GemmaError naming the first that does not start within `patience` seconds.

    limit_s: seconds a call may take.
    """
    for name in ("mcp", "client", "httpx2"):  # they log to stderr what a server wrote
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with start_blocking_portal(name="gemma-mcp") as portal:
        running = [_Running(portal, server, patience, limit_s) for server in servers]
        try:
            yield [tool for one in running for tool in one.tools()]
        finally:
            for one in running:  # all at the same time, as each may be slow
                one.stop()
            for one in running:
                one.ended()


@dataclass(frozen=True)
class _ReadyServer:
    """A server that has listed its tools; it is stopped by `stop`."""

    client: Client
    tools: list[mcp.Tool]
    stop: anyio.Event


class _Running:
    """A server from its start to its end."""

    def __init__(self, portal: BlockingPortal, server: Server, patience: float, limit_s: float) -> None:
        self._portal, self._server, self._patience, self._limit_s = portal, server, patience, limit_s
        self._log = _log()
        self._up: Future[_ReadyServer] = Future()
        self._served = portal.start_task_soon(self._serve)

    async def _serve(self) -> None:
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._patience) as scope:
                async with _client(self._server, self._log) as client:
                    up = _ReadyServer(client, await _listed(client), anyio.Event())
                    scope.deadline = float("inf")
                    self._up.set_result(up)
                    await up.stop.wait()
            if scope.cancelled_caught:
                raise TimeoutError(f"the server gave no answer within {self._patience:.0f} s")
        except BaseException as error:
            if not self._up.done():
                self._up.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def tools(self) -> list[Tool]:
        """Return the tools of the server; waits until it is ready. Raises GemmaError."""
        try:
            up = self._up.result()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            raise GemmaError(f"the MCP server '{self._server.name}' cannot be started: {self._why(error)}") from error
        return [self._tool(up.client, tool) for tool in up.tools]

    def stop(self) -> None:
        """Ask it to end; one that is still starting is given up."""
        if self._up.done() and not self._up.exception():
            self._portal.call(self._up.result().stop.set)
        else:
            self._served.cancel()

    def ended(self) -> None:
        """Wait for its end, which the protocol's client sees to: stdin is closed, then signals are sent."""
        wait([self._served])
        self._log.close()

    def _tool(self, client: Client, tool: mcp.Tool) -> Tool:
        function = {"name": tool.name, "description": tool.description or "", "parameters": plain(tool.input_schema)}

        def run(arguments: Mapping[str, Any]) -> Any:
            call = self._portal.start_task_soon(lambda: client.call_tool(tool.name, dict(arguments)))
            try:
                if not wait([call], self._limit_s).done:
                    call.cancel()
                    raise ToolFailed(too_late(self._limit_s))
                result = call.result()
            except (KeyboardInterrupt, SystemExit):
                call.cancel()
                raise
            except ToolFailed:
                raise
            except BaseException as error:
                raise ToolFailed(f"the MCP server '{self._server.name}' failed: {_cause(error)}") from error
            text = _text(result)
            if result.is_error:
                raise ToolFailed(text)
            return text

        return Tool(tool.name, {"type": "function", "function": function}, run, self._server.name)

    def _why(self, error: BaseException) -> str:
        """Return the server's last line on stderr, which explains more than a closed connection."""
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return f"{_cause(error)} ({lines[-1][:200]})" if lines else _cause(error)


def _log() -> TextIO:
    """Open a file for a server's stderr; without disk space, it is discarded."""
    try:
        file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in ended
    except OSError:
        file = open(os.devnull, "w+", encoding="utf-8")  # noqa: SIM115, PTH123 - closed in ended
    return cast("TextIO", file)


@asynccontextmanager
async def _client(server: Server, log: TextIO) -> AsyncIterator[Client]:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if isinstance(server, Local):
        parameters = StdioServerParameters(
            command=server.command, args=list(server.args), env=dict(server.env), cwd=server.cwd
        )
        async with Client(stdio_client(parameters, errlog=log)) as client:
            yield client
    else:
        import httpx2

        async with (
            httpx2.AsyncClient(headers=dict(server.headers), timeout=httpx2.Timeout(30, read=READ_S)) as http,
            Client(streamable_http_client(server.url, http_client=http)) as client,
        ):
            yield client


async def _listed(client: Client) -> list[mcp.Tool]:
    page = await client.list_tools()
    tools = list(page.tools)
    for _ in range(MOST_PAGES):
        if page.next_cursor is None:
            break
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools


def _text(result: mcp.CallToolResult) -> str:
    """Return the result of a call as text; pictures and sound are named, the model cannot be shown them here."""
    texts = [block.text if block.type == "text" else f"[{block.type}, not shown]" for block in result.content]
    if not texts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(texts)


def _cause(error: BaseException) -> str:
    """The innermost of what task groups wrap, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__
