"""A web server on this machine with one page for each thing a server can do."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """files: what is at which path. asked: the paths in the order they were asked for. headers: those of each request.
    ended: when the test is over.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.ended = threading.Event()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        path = re.sub("^http://[^/]*", "", self.path)  # as a proxy is asked
        page, _, argument = path.removeprefix("/").partition("/")
        act = getattr(self, f"_{page}", None)
        content = self.server.files.get(path.partition("?")[0])
        if content is not None:
            self._say(200, content, {"Content-Length": len(content)})
        elif act:
            act(argument)
        else:
            self._say(404, b"nothing here")

    def _say(self, code: int, content: bytes, headers: dict[str, object] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def _status(self, code: str) -> None:
        self._say(int(code), b"no")

    def _to(self, target: str) -> None:
        self._say(302, b"", {"Location": target})

    def _round(self, count: str) -> None:
        self._say(302, b"", {"Location": f"/round/{int(count) + 1}"})

    def _page(self, _: str) -> None:
        self._say(200, b"<!doctype html>", {"Content-Type": "text/html; charset=utf-8"})

    def _empty(self, _: str) -> None:
        self._say(200, b"", {"Content-Length": 0})

    def _short(self, _: str) -> None:
        self._say(200, b"RIFF", {"Content-Length": 1000})

    def _huge(self, _: str) -> None:
        self._say(200, b"RIFF", {"Content-Length": 1 << 40})

    def _packed(self, _: str) -> None:
        self._say(200, b"\x1f\x8b", {"Content-Encoding": "gzip"})

    def _endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.ended.is_set():
            try:
                self.wfile.write(bytes(1 << 16))
            except OSError:
                return

    def _drip(self, start: str) -> None:
        """A byte every 10 ms, without an end, after the bytes that the path gives in hex."""
        self.wfile.write(bytes.fromhex(start))
        while not self.server.ended.wait(0.01):
            try:
                self.wfile.write(b"1")
            except OSError:
                return

    def _silent(self, _: str) -> None:
        self.server.ended.wait()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on stderr."""

    def handle(self) -> None:
        """A client that hangs up is no news."""
        with suppress(ConnectionError, ssl.SSLError):
            super().handle()


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    """certificate: of a server that speaks TLS."""
    with Server() as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
