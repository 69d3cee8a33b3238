"""The socket that the server listens at, and its life from the first request to the last."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from gemma_cli.core.errors import GemmaError, UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")

HEADERS = 16 << 10
"""Bytes that the headers of a request may take."""


@dataclass(frozen=True)
class Address:
    """The place to listen on: a port of a host (0: any free one) or a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 8000
    path: Path | None = None

    @property
    def private(self) -> bool:
        """Whether only this machine can connect."""
        return self.path is not None or self.host in LOOPBACK


@contextlib.contextmanager
def listener(address: Address) -> Iterator[tuple[socket.socket, str]]:
    """Open a listening socket, and return it with its address for users. Raises UsageError."""
    if address.path is not None:
        with _unix_socket(address.path) as sock:
            yield sock, f"unix:{address.path}"
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address.host, address.port))
            sock.listen(128)
        except OSError as error:
            where = f"{address.host}:{address.port}"
            raise UsageError(
                f"the server cannot listen at {where} ({error.strerror or error}); choose another --port"
            ) from None
        host = f"[{address.host}]" if ":" in address.host else address.host
        yield sock, f"http://{host}:{sock.getsockname()[1]}"


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """Open a socket file that only this user can connect to, and remove it afterwards. A stale one is replaced."""
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("--socket: this system does not support Unix sockets; use --port")
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode) and not _answers(path):
            path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        before = os.umask(0o177)  # never open to others, not even for a moment
        try:
            sock.bind(str(path))
            sock.listen(128)
        except OSError as error:
            raise UsageError(
                f"--socket {path}: the socket cannot be created ({error.strerror or error}); choose another path"
            ) from None
        finally:
            os.umask(before)
        try:
            yield sock
        finally:
            path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True


class _Server(uvicorn.Server):
    """Tells when it is asked to end, and ends without raising the signal again."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End: what runs is finished first; a second signal does not wait for that."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what waits, then let connections finish."""
        self._tell_ending()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the server runs."""
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def serve(app: ASGIApp, sock: socket.socket, ending: Callable[[], None], grace_s: int) -> None:
    """Answer requests until a signal comes. grace_s: seconds that what runs has to finish then. Raises GemmaError."""
    logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http="h11",
        h11_max_incomplete_event_size=HEADERS,
        timeout_graceful_shutdown=grace_s,
        proxy_headers=False,
    )
    server = _Server(config, ending)
    try:
        server.run(sockets=[sock])
    except OSError as error:
        raise GemmaError(f"the server ended: {error.strerror or error}") from None
