"""A `gemma` that has imported everything: each command is a fork of one process, so no test waits for torch.

The command runs with its own arguments, environment, folder and standard streams, and ends as a process of its own.
What a fork cannot show is tested with the installed program: signals, terminals, limits of the system, encodings, and
what is imported when.

    python -m tests.cli.helpers.warm SOCKET     serves until it is killed
    write_client(folder, socket)        a program that has a command run there
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import NoReturn

CLIENT = """\
#!{python} -IS
import json, os, socket, sys
place = socket.socket(socket.AF_UNIX)
place.connect({socket!r})
told = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode() + b"\\n"
socket.send_fds(place, [b"\\n"], [0, 1, 2])
place.sendall(told)
code = int(place.makefile().read() or 1)
os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)
"""


def write_client(folder: Path, place: Path) -> Path:
    """Write the program `gemma` into `folder`."""
    client = folder / "gemma"
    client.write_text(CLIENT.format(python=sys.executable, socket=str(place)))
    client.chmod(0o755)
    return client


def serve(place: str) -> None:
    """Import what commands import, then run the commands that come in, as many at once as there are."""
    parent = os.getppid()
    import transformers.models.gemma4.modeling_gemma4
    import transformers.models.gemma4_unified.modeling_gemma4_unified  # noqa: F401

    import gemma_cli

    for module in pkgutil.walk_packages(gemma_cli.__path__, "gemma_cli."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:
            if missing.name != "triton":  # it comes with torch for CUDA alone
                raise
    for name in ("rich.markdown", "rich.table", "pydantic.main", "PIL.PngImagePlugin"):
        importlib.import_module(name)
    gc.freeze()  # else a collection in a fork copies every page
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place + ".starting")
    listener.listen(16)
    Path(place + ".starting").rename(place)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who attend
    listener.settimeout(5)
    while os.getppid() == parent:  # a test run that is killed cannot end its server
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if not os.fork():
            listener.close()
            attend(connection)
        connection.close()


def attend(connection: socket.socket) -> NoReturn:
    """Run the command in a fork, and send its exit code; end it if the client has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    arguments, environment, folder = json.loads(connection.makefile().readline())
    child = os.fork()
    if not child:
        connection.close()
        become(arguments, environment, folder, streams)
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> NoReturn:
    """Be the command: streams, environment and arguments as a new process has them."""
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["gemma", *arguments]
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os._exit(run())


def run() -> int:
    """Run the command to its exit code, with what Python does at exit but for taking all modules apart.

    That would copy every page that the fork shares with its parent, half a second of work.
    """
    from gemma_cli.__main__ import main

    try:
        code = main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return 120
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
