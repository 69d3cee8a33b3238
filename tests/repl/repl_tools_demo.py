"""The chat with tools over an engine that calls them, to be driven through a terminal: python repl_tools_demo.py."""

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gemma_cli.core.messages import Drafting, Sampling
from gemma_cli.repl.chat import Chat, ChatHost
from gemma_cli.repl.editor import Editor, history_at
from gemma_cli.repl.loop import run
from gemma_cli.repl.settings import Settings
from gemma_cli.tools import Tool, toolbox
from gemma_cli.views.console import terminal
from tests.tools.raw import RawEngine

REPLIES = [
    "<|tool_call>call:add{a:2,b:3}<tool_call|><|tool_response>",
    "Five it is.",
    "<|tool_call>call:add{a:3,b:4}<tool_call|><|tool_call>call:wait{}<tool_call|><|tool_response>",
    "I will not wait.",
]


def wait() -> str:
    os.write(2, b"the tool waits")
    threading.Event().wait()
    return ""


def declared(name: str) -> dict:
    return {"type": "function", "function": {"name": name, "description": name, "parameters": {"type": "object"}}}


tools = [
    Tool("add", declared("add"), lambda arguments: f"\x1b[31m{arguments['a'] + arguments['b']}"),
    Tool("wait", declared("wait"), lambda arguments: wait()),
]
settings = Settings(Sampling(), Drafting())
outside = ChatHost(lambda path, kind: None, lambda name: None)
chat = Chat(RawEngine(REPLIES), settings, terminal(sys.stdout), terminal(sys.stderr), outside, box=toolbox(tools, []))
run(chat, Editor(chat, history_at(None)))
