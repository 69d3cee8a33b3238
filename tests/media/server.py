"""A web server on this machine with one page for each thing a server can do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """files: what is at which path. asked: the paths in the order they were asked for. ended: when the test is over."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.ended = threading.Event()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page, _, argument = self.path.removeprefix("/").partition("/")
        act = getattr(self, f"_{page}", None)
        content = self.server.files.get(self.path.partition("?")[0])
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

    def _silent(self, _: str) -> None:
        self.server.ended.wait()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on stderr."""


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
