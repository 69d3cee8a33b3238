"""A real MCP server over stdio: python mcp_server.py FILE, where FILE is made when `wait` is called."""

import os
import sys
import threading
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("adder")


@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool()
def refuse(why: str | None = None) -> str:
    """Always fail."""
    raise ValueError(f"no \x1b[31m{why}")


@server.tool()
def leave() -> str:
    """End the server in the middle of a call."""
    os._exit(3)


@server.tool()
def wait() -> str:
    """Never answer."""
    Path(sys.argv[1]).touch()
    threading.Event().wait()
    return ""


print("the server is up", file=sys.stderr)
server.run("stdio")
