"""The tools a chat is given: options, the servers behind them, and who is asked before a call is carried out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

from gemma_cli.common.command_line.setting_options import option
from gemma_cli.common.notices import notice
from gemma_cli.common.opening import busy
from gemma_cli.common.options import OutputOptions
from gemma_cli.core.errors import GemmaError, Interrupted, UsageError
from gemma_cli.core.messages import ToolCall, ToolResponse
from gemma_cli.core.records import dataclass
from gemma_cli.tools import TIME_LIMIT_S, Tool, Toolbox, toolbox
from gemma_cli.tools.calls import Permission, ToolRunner, leave, longest_answer
from gemma_cli.views.sanitize import safe_line
from gemma_cli.views.signals import line_input, orderly_exit
from gemma_cli.views.tool_calls import answer_line, call_line

QUESTION = "run this tool? yes, no or always:"


@dataclass(frozen=True)
class ToolOptions:
    """Options for tools."""

    tool: Annotated[list[str] | None, *option("tool")] = None
    mcp: Annotated[list[Path] | None, *option("mcp")] = None
    allow_tool: Annotated[list[str] | None, *option("allow-tool")] = None
    tool_timeout: Annotated[float, *option("tool-timeout")] = TIME_LIMIT_S


@contextmanager
def opened(options: ToolOptions, output: OutputOptions) -> Iterator[Toolbox]:
    """The tools the options name; MCP servers run until the end of it. Raises UsageError, GemmaError."""
    if options.allow_tool and not (options.tool or options.mcp):
        raise UsageError("--allow-tool applies to tools of --tool or --mcp: give --tool or --mcp too")
    limit_s = options.tool_timeout
    with ExitStack() as stack:
        if options.tool or options.mcp:  # what they have started ends with the program, also when a signal ends it
            stack.enter_context(orderly_exit())
        tools: list[Tool] = []
        if options.tool:
            from gemma_cli.tools.functions import loaded

            with busy("loading tools", output):
                tools += stack.enter_context(loaded(options.tool, _written, limit_s))
        if options.mcp:
            with busy("starting MCP servers", output):
                tools += stack.enter_context(_served([Path(path) for path in options.mcp], limit_s))
        yield toolbox(tools, options.allow_tool or ())


def _written(line: str) -> None:
    """Show what a tool writes: on stderr, as stdout has the answer, and nothing in it drives the terminal."""
    print(safe_line(line), file=sys.stderr, flush=True)


def _served(configurations: list[Path], limit_s: float) -> AbstractContextManager[list[Tool]]:
    try:
        import mcp as _mcp  # noqa: F401
    except ImportError:
        raise UsageError("--mcp needs the mcp package: pip install 'gemma-cli[mcp]'") from None
    from gemma_cli.tools.server_config import read
    from gemma_cli.tools.servers import started

    return started([server for path in configurations for server in read(path)], limit_s=limit_s)


def desk(box: Toolbox, context: int, output: OutputOptions) -> ToolRunner:
    """A handler for the calls of one question: it prints them on stderr and asks for permission on a terminal."""

    def tell(call: ToolCall, answer: ToolResponse | None) -> None:
        if not output.quiet:
            notice(answer_line(answer) if answer else f"calls {call_line(call)}")

    return ToolRunner(box, _asked, tell, longest_answer(context))


def _asked(call: ToolCall) -> Permission:
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise GemmaError(
            f"the model wants to call {call_line(call)}, but there is no terminal for your permission: "
            f"give --allow-tool {call.name}"
        )
    notice(f"the model wants to call {call_line(call)}")
    with line_input():
        while (given := leave(_line(QUESTION))) is None:
            continue
    return given


def _line(question: str) -> str:
    """Ask on stderr and read a line; input() would write to stdout. Raises Interrupted at the end of the input."""
    print(question, end=" ", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        raise Interrupted
    return line
