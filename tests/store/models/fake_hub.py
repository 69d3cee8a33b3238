"""A Hugging Face Hub on the loopback interface: it knows ranges, and can drop connections, lie and be slow."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "5" * 40


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request for a file. Without arguments nothing does.

    status, headers: answered with no file. cut: bytes of the body after which the connection breaks. stall: no more
    bytes after `cut`. ranged: False ignores Range. shift: the range begins so many bytes later than asked. flip: the
    position in the file of a byte that is changed. length: the Content-Length that is sent; None for none. body: sent
    instead of the file.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: bool = False
    ranged: bool = True
    shift: int = 0
    flip: int | None = None
    length: int | None = -1
    body: bytes | None = None


class Hub(http.server.ThreadingHTTPServer):
    """repositories: name -> files; refuse: name -> status and error code without a token.

    faults: file name -> what goes wrong with the next requests for it; "" stands for the listing. cdn: address of
    another server to which weight files are redirected. rate: bytes a second. asked: (method, path, authorization).
    ranges: (path, Range) of the requests for files. sent: bytes of file bodies. released: ends stalls. dropped: breaks
    the next connection that is sending a file.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.cdn: str | None = None
        self.rate = 0.0
        self.asked: list[tuple[str, str, str | None]] = []
        self.ranges: list[tuple[str, str | None]] = []
        self.sent = 0
        self.ended = threading.Event()
        self.released = threading.Event()
        self.dropped = threading.Event()
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self) -> list[str]:
        """Paths of the files asked for."""
        return [path for path, _ in self.ranges]

    def count(self, number: int) -> None:
        with self._lock:
            self.sent += number

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what this is for."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def do_GET(self) -> None:
        hub = self.server
        authorization = self.headers.get("Authorization")
        hub.asked.append((self.command, self.path, authorization))
        path = self.path.split("?")[0]
        found = re.match(r"(?:/api/models|/cdn)?/([^/]+/[^/]+)(.*)", path)
        assert found
        name, rest = found.groups()
        if name in hub.refuse and not authorization and not path.startswith("/cdn"):
            status, code = hub.refuse[name]
            return self._answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"})
        if name not in hub.repositories:
            return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        files = hub.repositories[name]
        if rest.startswith("/resolve/"):
            file = rest.split("/", 3)[3]
            if hub.cdn and file.endswith(".safetensors") and not path.startswith("/cdn"):
                return self._answer(302, b"", {"Location": f"{hub.cdn}/cdn{path}"})
            return self._file(path, file, files[file])
        for fault in self._faults(""):
            return self._answer(fault.status or 200, fault.body or b"{}", fault.headers)
        siblings = [listed(file, content) for file, content in files.items()]
        body = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
        return self._answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _faults(self, file: str) -> list[Fault]:
        planned = self.server.faults.get(file)
        return [planned.pop(0)] if planned else []

    def _file(self, path: str, file: str, content: bytes) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append((path, asked))
        fault = next(iter(self._faults(file)), Fault())
        if fault.status or fault.body is not None:
            self._answer(fault.status or 200, fault.body or b"no", fault.headers)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and fault.ranged else 0
        status, headers = 200, {"Accept-Ranges": "bytes", **fault.headers}
        if asked and fault.ranged:
            if start >= len(content):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            start += fault.shift
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        length = len(content) - start if fault.length == -1 else fault.length
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self._body(content, start, fault)

    def _body(self, content: bytes, start: int, fault: Fault) -> None:
        """Send at the server's rate; little that is counted as sent still waits on this side."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        if fault.flip is not None:
            content = content[: fault.flip] + bytes([content[fault.flip] ^ 1]) + content[fault.flip + 1 :]
        end = len(content) if fault.cut is None else min(len(content), start + fault.cut)
        piece = 1 << 14
        began, first = time.monotonic(), start
        view = memoryview(content)
        while start < end and not self.server.ended.is_set():
            if self.server.dropped.is_set():
                self.server.dropped.clear()
                self.close_connection = True
                return
            chunk = view[start : min(start + piece, end)]
            self.wfile.write(chunk)
            self.server.count(len(chunk))
            start += len(chunk)
            if self.server.rate:
                time.sleep(max(0.0, (start - first) / self.server.rate - (time.monotonic() - began)))
        while fault.stall and not (self.server.ended.is_set() or self.server.released.is_set()):
            time.sleep(0.01)
        if end < len(content):
            self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on stderr."""


def listed(file: str, content: bytes) -> dict[str, object]:
    """An entry of the Hub's list: large files are in LFS, the others are git blobs."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": blob}
    if file.endswith(".safetensors"):
        entry["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
    return entry


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that runs while the block does."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.ended.set()
            hub.shutdown()
            thread.join()
