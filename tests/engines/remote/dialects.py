"""A real HTTP server that speaks as vLLM, SGLang, llama-server, ollama or `gemma serve` does, and fails when told to.

It answers with what it was asked, so that a test sees what arrived: the last text, and a digest of each picture and
sound. The dialects differ where docs/remote.md says that the servers do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from socket import SHUT_RDWR
from typing import Any

import soundfile
from PIL import Image

OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llama": "llamacpp",
    "ollama": "library",
    "gemma": "google",
    "other": "me",
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    kind: status, eof, error, length, reset, stall, bytes (one at a time), garbage, html. after: pieces of the reply
    before it. error: the object of an error in the stream.
    """

    kind: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    after: int = 1
    error: Any = None
    body: bytes = b'{"error": {"message": "told to fail"}}'


def heard(body: Mapping[str, Any]) -> str:
    """Describe the last user message: its texts, and a digest of each medium after decoding."""
    users = [message for message in body["messages"] if message["role"] in ("user", "tool")]
    content = users[-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(_medium(part) for part in content)


def _medium(part: Mapping[str, Any]) -> str:
    if part["type"] == "text":
        return str(part["text"]).strip()
    if part["type"] == "image_url":
        data = base64.b64decode(part["image_url"]["url"].partition("base64,")[2])
        return f"image-{hashlib.sha256(Image.open(BytesIO(data)).tobytes()).hexdigest()[:8]}"
    samples, rate = soundfile.read(BytesIO(base64.b64decode(part["input_audio"]["data"])), dtype="float32")
    assert rate == 16_000
    return f"audio-{hashlib.sha256(samples.tobytes()).hexdigest()[:8]}"


class DialectServer:
    """Serves on loopback from `start` to `stop`, at the same port each time. requests: (headers, body) as they came."""

    def __init__(self, dialect: str = "vllm", say: Callable[[Mapping[str, Any]], str] = heard) -> None:
        self.dialect, self.say = dialect, say
        self.requests: list[tuple[Mapping[str, str], Mapping[str, Any]]] = []
        self.faults: deque[Fault] = deque()
        self.model_faults: deque[Fault] = deque()
        self.key: str | None = None
        self.thought = ""
        self.calls: list[dict[str, Any]] = []
        self.pause = 0.0
        self.most = self.under_way = 0
        self.lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._open: set[Any] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        outer = self

        class Handler(_Handler):
            server_of = outer

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away is no matter."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop as a killed server does: no more answers, and every connection is gone."""
        assert self._server
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(SHUT_RDWR)
            except OSError:
                continue

    def model(self) -> dict[str, Any]:
        model: dict[str, Any] = {"id": "pocket", "object": "model", "owned_by": OWNERS[self.dialect]}
        match self.dialect:
            case "vllm" | "sglang":
                model["max_model_len"] = 2048
            case "gemma":
                model |= {"max_model_len": 2048, "modalities": ["text", "image", "audio"]}
                model |= {"exact": True, "drafter": "pocket-assistant", "dtype": "float32"}
        return model

    def chunks(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The reply as this dialect streams it."""
        words = re.findall(r"\s*\S+|\s+\Z", self.say(body))
        thinks = body.get("chat_template_kwargs", {}).get("enable_thinking") or body.get("reasoning_effort")
        raw = self.dialect == "llama" and body.get("reasoning_format") == "none"
        if thinks and self.thought and raw:
            yield self._chunk({"content": "<|channel>"})
            yield self._chunk({"content": f"thought\n{self.thought}"})
            yield self._chunk({"content": "<channel|>"})
        elif thinks and self.thought:
            names = {"vllm": ["reasoning"], "ollama": ["reasoning"], "gemma": ["reasoning", "reasoning_content"]}
            for word in re.findall(r"\s*\S+", self.thought):
                yield self._chunk(dict.fromkeys(names.get(self.dialect, ["reasoning_content"]), word))
        most = body["max_tokens"]
        place = "reasoning_content" if self.dialect == "llama" and not raw else "content"
        for number, word in enumerate(words[:most], start=1):
            timings = {"draft_n": number // 2 * 4, "draft_n_accepted": number // 2, "predicted_n": number}
            yield self._chunk({place: word}) | ({"timings": timings} if self.dialect == "llama" else {})
        for index, call in enumerate(self.calls):
            text = json.dumps(call["arguments"])
            yield self._chunk({"tool_calls": [{"index": index, "id": "x", "function": {"name": call["name"]}}]})
            for part in (text[:3], text[3:]):
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        reason = "tool_calls" if self.calls else "length" if len(words) > most else "stop"
        yield self._chunk({}, reason)
        usage: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": len(words[:most])}
        yield {"choices": [], "usage": usage}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: DialectServer

    def setup(self) -> None:
        super().setup()
        self.server_of._open.add(self.connection)

    def finish(self) -> None:
        self.server_of._open.discard(self.connection)
        super().finish()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server = self.server_of
        if self.path == "/v1/models" and server.model_faults:
            self._status(server.model_faults.popleft())
        elif server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
            self._status(Fault("status", 401))
        elif self.path == "/v1/models":
            self._json({"object": "list", "data": [server.model()]})
        elif self.path == "/version" and server.dialect == "vllm":
            self._json({"version": "0.32.0"})
        elif self.path == "/props" and server.dialect == "llama":
            modalities = {"vision": True, "audio": False}
            self._json({"default_generation_settings": {"n_ctx": 1024}, "modalities": modalities})
        else:
            self._status(Fault("status", 404))

    def do_POST(self) -> None:
        server = self.server_of
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((dict(self.headers), body))
            fault = server.faults.popleft() if server.faults else None
            server.under_way += 1
            server.most = max(server.most, server.under_way)
        try:
            self._reply(body, fault)
        finally:
            with server.lock:
                server.under_way -= 1

    def _reply(self, body: Mapping[str, Any], fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        if fault and kind == "status":
            self._status(fault)
            return
        if kind == "reset":
            self._drop()
            return
        if kind == "html":
            self._send(200, "text/html", b"<html>hello</html>")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, chunk in enumerate(self.server_of.chunks(body)):
            if fault and number == fault.after and kind in ("eof", "error", "garbage", "stall", "cut"):
                self._fail(fault)
                return
            time.sleep(self.server_of.pause)
            self._event(json.dumps(chunk, ensure_ascii=False), singly=kind == "bytes")
        self._event("[DONE]")
        self._write(b"")

    def _fail(self, fault: Fault) -> None:
        if fault.kind == "stall":
            time.sleep(30)
        elif fault.kind == "cut":  # the connection, in the middle of a chunk
            self.wfile.write(b"ff\r\ndata: {")
            self.wfile.flush()
            self._drop()
        else:
            text = {"error": json.dumps({"error": fault.error}), "garbage": "{no JSON"}.get(fault.kind)
            if text:
                self._event(text)
            self._write(b"")

    def _event(self, data: str, singly: bool = False) -> None:
        content = f"data: {data}\n\n".encode()
        for part in [content[i : i + 1] for i in range(len(content))] if singly else [content]:
            self._write(part)

    def _write(self, part: bytes) -> None:
        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.flush()

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(SHUT_RDWR)

    def _status(self, fault: Fault) -> None:
        self._send(fault.status, "application/json", fault.body, fault.headers)

    def _json(self, value: Any) -> None:
        self._send(200, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(dialect: str = "vllm", **options: Any) -> Iterator[DialectServer]:
    """A server that runs."""
    server = DialectServer(dialect, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
