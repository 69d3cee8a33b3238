"""The command line: which commands there are, and how anything that goes wrong is told.

Only the module of the chosen command is imported. This is the only place that catches GemmaError; whatever else
escapes a command is a bug, told in one line (set GEMMA_DEBUG=1 to see the traceback).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gemma_cli import __version__
from gemma_cli.common.command_line.damage import end_of_file_is_an_error
from gemma_cli.common.command_line.quick_values import convert_quickly
from gemma_cli.common.environment import prepare_libraries
from gemma_cli.common.help_pages import print_help, print_readably
from gemma_cli.common.options import examples
from gemma_cli.core.errors import GemmaError, Interrupted

COMMANDS = {
    "chat": "Chat with the model, or get a single answer.",
    "transcribe": "Transcribe audio files, videos or a microphone.",
    "translate": "Translate speech or text.",
    "describe-image": "Describe images, or answer questions about images.",
    "describe-video": "Describe videos, in one text or in chapters.",
    "serve": "Serve the model over an OpenAI-compatible HTTP API.",
    "stop": "Stop the gemma serve processes that are running.",
    "bench": "Compare decoding with drafts and without drafts.",
    "sessions": "List, show, search, export and delete saved chats.",
    "config": "Show, change and explain settings.",
    "models": "List, download and remove models.",
    "help": "Print the help of a command, or of all commands as JSON.",
    "completion": "Set up shell completion for bash, zsh and fish.",
    "demo": "Run the main commands on samples and explain the output.",
    "doctor": "Check the installation and this machine.",
}
"""Each command is the `app` of its module in gemma_cli.commands."""

EXAMPLES = examples(
    'gemma chat "Count from 1 to 10."',
    'git diff | gemma chat "Write a commit message" > message.txt',
    "gemma transcribe meeting.wav --format srt > meeting.srt",
    "gemma bench --help",
)


class LazyGroup(TyperGroup):
    """Lists commands by name and summary; imports a command's module when that command is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Typer would build each of them from a function, by evaluating its annotations: 1 ms each.
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name, ctx) if name else command, rest

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        print_help(self, ctx)


def _load(name: str, parent: Any) -> Any:
    with end_of_file_is_an_error():
        module = import_module(f"gemma_cli.commands.{name.replace('-', '_')}")
    command: Any = typer.main.get_command(module.app)
    command.name = name
    context = typer.Context(command, parent=parent, info_name=name)
    _without_types(command.get_params(context))
    for below in getattr(command, "commands", {}).values():
        _without_types(below.get_params(typer.Context(below, parent=context, info_name=below.name)))
    return print_readably(command)


def _without_types(parameters: list[Any]) -> list[Any]:
    """The parameters, read quickly; those that are flags have no type in --help, as they take no value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return convert_quickly(parameters)


def command_tree() -> dict[str, Any]:
    """All commands as plain data."""
    from gemma_cli.common.completion.command_tree import describe

    command: Any = typer.main.get_command(app)
    return describe(command, typer.Context(command, info_name="gemma", **command.context_settings))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gemma {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="gemma",
    cls=LazyGroup,
    epilog=EXAMPLES,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def gemma(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run Gemma 4 in the terminal. Answers go to stdout; notices, progress and errors go to stderr."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the result is its exit code, as errors.py draws them."""
    _prepare()
    debug = bool(os.environ.get("GEMMA_DEBUG"))
    try:
        if sys.stdout is None:
            raise GemmaError("standard output is closed, so the answer cannot be written")
        code = typer.main.get_command(app).main(list(arguments), prog_name="gemma", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        return _misused(error)
    except typer.Abort:
        return Interrupted.exit_code
    except GemmaError as error:
        if debug and not isinstance(error, Interrupted):
            raise
        if not isinstance(error, Interrupted):
            _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return Interrupted.exit_code
    except BrokenPipeError:
        _abandon_stdout()
        return 1
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _prepare() -> None:
    """Set up the streams, what the libraries read from the environment, and warnings."""
    _prepare_streams()
    prepare_libraries()
    if not os.environ.get("GEMMA_DEBUG"):
        warnings.simplefilter("ignore")


def _misused(error: typer.TyperException) -> int:
    """A usage error in one line, with where to read on."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "gemma"
    _complain(f"{' '.join(error.format_message().split()).rstrip('.')} ({path} --help shows how)")
    return error.exit_code


def _explain(error: Exception) -> int:
    """Anything unforeseen, in one line."""
    if isinstance(error, OSError) and error.errno in _WRITING and _stdout_fails():
        _abandon_stdout()
        _complain(f"cannot write to standard output: {error.strerror}")
    elif isinstance(error, OSError) and error.errno in _FULL:
        _complain(
            f"{error.filename or 'a temporary file'}: the file cannot "
            f"be written ({error.strerror}); free some disk space"
        )
    else:
        _complain(f"internal error: {type(error).__name__}: {error} (set GEMMA_DEBUG=1 to see the traceback)")
    return 1


def _stdout_fails() -> bool:
    """Whether it is standard output that cannot be written to: what it could not write is still in its buffer."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return True
    return False


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WRITING = (*_FULL, errno.EIO, errno.EBADF)


def _complain(message: str) -> None:
    from gemma_cli.views.sanitize import safe_line

    with contextlib.suppress(OSError):
        print(f"gemma: {safe_line(message)}", file=sys.stderr, flush=True)


def _abandon_stdout() -> None:
    """Let nothing be written to it any more, the interpreter's last flush included."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams() -> None:
    """UTF-8 in and out, a terminal in its own encoding; a character that does not fit is replaced, never an error."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - print(file=None) would write to stdout
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            chosen = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=None if chosen else "utf-8", errors="replace")
