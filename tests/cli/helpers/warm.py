"""A `gemma` that has imported everything: each command is a fork of one process, so no test waits for torch.

The command runs with its own arguments, environment, folder and standard streams, and ends as a process of its own.
What a fork cannot show is tested with the installed program: Ctrl-C while modules are imported, encodings, and what is
imported when.

    python -m tests.cli.helpers.warm SOCKET     serves until it is killed
    write_client(folder, socket)                a program that has a command run there
    Fork(socket, ...)                           a command or a script that runs there, on a terminal or with files
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import select
import signal
import socket
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

LARGEST_FILE = "TESTS_LARGEST_FILE"
"""A variable: no file that the command writes may grow beyond so many bytes, as on a full disk, wherever it is."""

CLIENT = """\
#!{python} -IS
import json, os, socket, sys
place = socket.socket(socket.AF_UNIX)
place.connect({socket!r})
told = json.dumps([None, None, sys.argv[1:], dict(os.environ), os.getcwd()]).encode() + b"\\n"
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


class Fork:
    """A command, or a script in place of it, in a fork. pid: of its process; returncode: as subprocess.Popen has it."""

    returncode: int | None = None

    def __init__(
        self,
        place: Path,
        script: str | None,
        arguments: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        streams: tuple[int, int, int],
        terminal: bool = False,
    ) -> None:
        """streams: descriptors of its standard streams; with `terminal` of one that belongs to no other session."""
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(place))
        told = json.dumps([terminal, script, [*arguments], environment, str(folder)]).encode() + b"\n"
        socket.send_fds(self._connection, [b"\n"], streams)
        self._connection.sendall(told)
        self._reading = self._connection.makefile()
        self.pid = int(self._reading.readline())

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, `timeout` seconds at most. Returns the exit code; less than 0 where a signal ended it."""
        if self.returncode is None:
            assert select.select([self._connection], [], [], timeout)[0], f"still running after {timeout} s"
            self.returncode = int(self._reading.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill it if it runs."""
        self._reading.close()
        self._connection.close()


class Piped(Fork):
    """One with nothing to read, which writes to files in `written`."""

    def __init__(
        self,
        place: Path,
        arguments: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        written: Path,
        script: str | None = None,
    ) -> None:
        written.mkdir()
        self._written = [written / "out", written / "err"]
        with Path(os.devnull).open() as nothing, self._written[0].open("w") as out, self._written[1].open("w") as err:
            streams = nothing.fileno(), out.fileno(), err.fileno()
            super().__init__(place, script, arguments, environment, folder, streams)

    def communicate(self) -> tuple[str, str]:
        """Wait for the end. Returns what it wrote to stdout and to stderr."""
        self.wait()
        self.close()
        out, err = (path.read_text() for path in self._written)
        return out, err


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
    terminal, script, arguments, environment, folder = json.loads(connection.makefile().readline())
    child = os.fork()
    if not child:
        connection.close()
        if terminal:
            os.setsid()
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        become(script, arguments, environment, folder, streams)
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    if terminal is not None:
        connection.sendall(f"{child}\n".encode())
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(
    script: str | None, arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]
) -> NoReturn:
    """Be the command or a script: streams, environment and arguments as a new process has them."""
    if script:
        sys.path.insert(0, str(Path(script).parent))
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    if size := environment.pop(LARGEST_FILE, None):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [script or "gemma", *arguments]
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os._exit(run(script))


def run(script: str | None) -> int:
    """Run the command or the script to its exit code, with what Python does at exit but for taking all modules apart.

    That would copy every page that the fork shares with its parent, half a second of work.
    """
    from gemma_cli.__main__ import main

    try:
        if script:
            runpy.run_path(script, run_name="__main__")
        code = 0 if script else main()
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
