"""MCP servers: a real one over stdio, one that is nowhere, and configurations that say nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

from gemma_cli.commands.chat_parts import tools as _tools
from gemma_cli.common.options import OutputOptions
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.tools import ToolFailed, toolbox
from gemma_cli.tools.server_config import Local, Remote, read

pytest.importorskip("mcp", reason="the mcp extra is not installed")

from gemma_cli.tools.servers import started

PATIENCE = 600.0
"""Seconds a busy machine may take to start a server."""

SERVER = str(Path(__file__).with_name("mcp_server.py"))


def test_a_server_over_stdio_from_its_start_to_its_end(tmp_path: Path):
    """All of it on one server, as a start takes seconds."""
    called = tmp_path / "called"
    with started([Local("one", sys.executable, (SERVER, str(called)))], PATIENCE) as tools:
        box = toolbox(tools, [])
        assert list(box.tools) == ["add", "refuse", "leave", "wait"]
        add = box.tools["add"]
        assert add.declaration["function"] == {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        }
        assert add.run({"a": 123, "b": 456}) == "579"
        with pytest.raises(ToolFailed, match="refuse"):
            box.tools["refuse"].run({"why": "x"})
        with pytest.raises(ToolFailed, match="valid integer"):
            add.run({"a": "q", "b": 1})
        presser = threading.Thread(target=press_ctrl_c_once_there_is, args=(called,), daemon=True)
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            box.tools["wait"].run({})
        presser.join()
        assert add.run({"a": 1, "b": 1}) == "2", "only the call was cancelled"
        with pytest.raises(ToolFailed, match="the MCP server 'one' failed: "):
            box.tools["leave"].run({})
        with pytest.raises(ToolFailed, match="the MCP server 'one' failed: "):
            add.run({"a": 1, "b": 1})


def press_ctrl_c_once_there_is(file: Path) -> None:
    while not file.exists():
        threading.Event().wait(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_server_over_http_and_two_tools_of_one_name():
    """A real one too, in a thread: two entries of a configuration lead to it."""
    import uvicorn
    from mcp.server.mcpserver import MCPServer

    adder = MCPServer("adder")
    adder.tool()(add)
    config = uvicorn.Config(adder.streamable_http_app(), port=0, log_level="critical", ws="none")
    http = uvicorn.Server(config)
    thread = threading.Thread(target=http.run)
    thread.start()
    try:
        while not http.started:
            threading.Event().wait(0.01)
        url = f"http://127.0.0.1:{http.servers[0].sockets[0].getsockname()[1]}/mcp"
        with started([Remote("left", url), Remote("right", url, {"X-Key": "1"})], PATIENCE) as tools:
            box = toolbox(tools, ["left_add"])
            assert list(box.tools) == ["left_add", "right_add"]
            assert box.tools["right_add"].run({"a": 1, "b": 2}) == "3"
    finally:
        http.should_exit = True
        thread.join()


def add(a: int, b: int) -> str:
    """Add."""
    return str(a + b)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (Local("gone", "/nonexistent/server"), "No such file"),
        (Local("keyless", sys.executable, ("-Sc", "import sys; sys.exit('no \x1b[31mkey given')")), "key given"),
        (Remote("web", "http://127.0.0.1:9/mcp"), "attempts failed"),
    ],
)
def test_a_server_that_does_not_start_is_named(server: Local | Remote, why: str):
    with (
        pytest.raises(GemmaError, match=f"the MCP server '{server.name}' cannot be started: .*{why}"),
        started([server], PATIENCE),
    ):
        pass


def test_a_server_that_says_nothing_is_given_up():
    mute = Local("mute", sys.executable, ("-Sc", "import sys; sys.stdin.read()"))
    with (
        pytest.raises(GemmaError, match="'mute' cannot be started: the server gave no answer within 0 s"),
        started([mute], 0.0),
    ):
        pass


def test_a_configuration_in_the_form_other_programs_read(tmp_path: Path):
    path = tmp_path / "mcp.json"
    entries = {
        "files": {"command": "npx", "args": ["-y", "x"], "env": {"A": "b"}, "unknown": 1},
        "web": {"type": "http", "url": "https://example.org/mcp", "headers": {"Authorization": "Bearer x"}},
        "off": {"command": "x", "disabled": True},
    }
    path.write_text(json.dumps({"mcpServers": entries, "other": {}}))
    assert read(path) == [
        Local("files", "npx", ("-y", "x"), {"A": "b"}),
        Remote("web", "https://example.org/mcp", {"Authorization": "Bearer x"}),
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not JSON"),
        ("[]", "mcpServers"),
        ("{}", "mcpServers: Field required"),
        ('{"mcpServers": {"a": {"command": 3}}}', re.escape("mcpServers.a.command")),
        ('{"mcpServers": {"a": {}}}', "give the server a either a command or a url"),
        ('{"mcpServers": {"a": {"type": "sse", "url": "http://x"}}}', "SSE"),
    ],
)
def test_a_configuration_that_says_nothing_is_refused(tmp_path: Path, content: str, why: str):
    path = tmp_path / "mcp.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=why):
        read(path)
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "gone.json")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "mcp", None)
    options = _tools.ToolOptions(mcp=[tmp_path / "mcp.json"])
    with (
        pytest.raises(UsageError, match=re.escape("pip install 'gemma-cli[mcp]'")),
        _tools.opened(options, OutputOptions(quiet=True)),
    ):
        pass
