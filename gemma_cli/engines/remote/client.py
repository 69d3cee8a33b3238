"""HTTP to one server: requests, responses, and the failures that are worth a retry.

The key goes to the server's own origin: no redirect is followed. Environment variables for proxies count, but for
servers on this machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx2

from gemma_cli import __version__
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.engines.remote.address import KEY, Address
from gemma_cli.store.models.hub_client import retry_after

CONNECT_S = 10.0
_LONGEST_REASON = 300
_MOST_BYTES = 16 << 20


class Lost(Exception):
    """A failure that may pass: no connection, a broken one, an overloaded server.

    pause: seconds after which the server wants to be asked again. asked: the request reached the server, so that it may
    be the request that it fails on. unready: it says that it is starting or overloaded (503).
    """

    def __init__(self, reason: str, pause: float | None = None, asked: bool = False, unready: bool = False) -> None:
        super().__init__(reason)
        self.pause, self.asked, self.unready = pause, asked, unready


class Cancel:
    """Ends what other threads wait for: connections are shut down, and pauses are over."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._responses: set[httpx2.Response] = set()
        self._lock = threading.Lock()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, unless cancelled."""
        self._cancelled.wait(seconds)

    @contextmanager
    def watching(self, response: httpx2.Response) -> Generator[None, None, None]:
        """Shut the response's connection down when cancelled."""
        with self._lock:
            self._responses.add(response)
        try:
            if self.cancelled:
                raise Lost("cancelled")
            yield
        finally:
            with self._lock:
                self._responses.discard(response)

    def cancel(self) -> None:
        """End all waiting, in any thread."""
        self._cancelled.set()
        with self._lock:
            for response in self._responses:
                _shut_down(response)


class Client:
    """Connections to one server. stall_s: seconds without a byte after which a connection counts as lost."""

    def __init__(self, address: Address, key: str | None, connections: int, stall_s: float) -> None:
        self.address = address
        headers = {"User-Agent": f"gemma/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})
        limits = httpx2.Limits(max_connections=connections + 2, max_keepalive_connections=connections)
        try:
            # Without TLS, reading the machine's certificates would only cost 80 ms.
            plain = address.is_local and address.api.startswith("http:")
            uds = str(address.socket) if address.socket else None
            self._http = httpx2.Client(
                transport=httpx2.HTTPTransport(verify=False, uds=uds, limits=limits) if plain else None,
                headers=headers,
                timeout=httpx2.Timeout(stall_s, connect=min(CONNECT_S, stall_s)),
                limits=limits,
                follow_redirects=False,
                trust_env=not address.is_local,
            )
        except (httpx2.InvalidURL, ImportError, ValueError) as error:  # the last two: proxies it does not know
            raise UsageError(f"--engine {address.shown}: the address or the proxy cannot be used ({error})") from None

    def get(self, path: str, root: bool = False) -> httpx2.Response:
        """Get a path of the API, or of the server's root. Raises Lost, GemmaError; a 404 is for the caller."""
        with self._send("GET", path, root) as response:
            if response.status_code != 404:
                self._check(response)
            return response

    @contextmanager
    def events(self, path: str, body: Mapping[str, Any], cancel: Cancel) -> Generator[httpx2.EventSource, None, None]:
        """Post a body and yield the stream of events that answers it. Raises Lost, GemmaError."""
        with self._send("POST", path, body=body, stream=True) as response, cancel.watching(response):
            self._check(response)
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind != "text/event-stream":
                raise GemmaError(
                    f"{self.address.shown} sent {kind or 'data without a type'} "
                    "instead of an event stream: give the address of an OpenAI API"
                )
            response.encoding = "utf-8"  # despite the header: event streams are always UTF-8
            yield httpx2.EventSource(response)

    @contextmanager
    def _send(
        self, method: str, path: str, root: bool = False, body: Mapping[str, Any] | None = None, stream: bool = False
    ) -> Generator[httpx2.Response, None, None]:
        shown = self.address.shown
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json"} if content else {}
        base = self.address.root if root else self.address.api
        try:
            request = self._http.build_request(method, base + path, content=content, headers=headers)
            response = self._http.send(request, stream=stream)
            try:
                yield response
            finally:
                response.close()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Lost(f"no server answers at {shown} ({_reason(error)})") from None
        except httpx2.TimeoutException:
            raise Lost(f"{shown} sends nothing", asked=True) from None
        except httpx2.LocalProtocolError:  # its message may hold the key
            raise UsageError(f"{shown}: the key in {KEY} cannot be sent in a request; correct the key") from None
        except httpx2.TransportError as error:
            raise Lost(f"{shown} closed the connection ({_reason(error)})", asked=True) from None
        except (httpx2.InvalidURL, httpx2.DecodingError, UnicodeError) as error:
            raise GemmaError(f"{shown}: the server does not speak HTTP ({_reason(error)})") from None

    def _check(self, response: httpx2.Response) -> None:
        """Raise for every status but success."""
        status, shown = response.status_code, self.address.shown
        if response.is_success:
            return
        reason = _message(response)
        if 300 <= status < 400:
            target = response.headers.get("Location", "another address")[:_LONGEST_REASON]
            raise UsageError(f"{shown} redirects to {target}: if you trust the new address, give --engine {target}")
        if status in (401, 403):
            raise UsageError(f"{shown} rejects the key ({status}): set the right key in {KEY}")
        if status in (408, 425, 429) or status >= 500:
            busy = "is busy" if status in (429, 503) else "failed"
            pause = retry_after(response.headers.get("Retry-After", ""))
            # A server that is busy or starting has not looked at the request.
            asked = status not in (429, 502, 503, 504)
            raise Lost(f"{shown} {busy} ({status}{reason})", pause, asked, unready=status == 503)
        if status in (404, 405):
            raise UsageError(f"{shown} has no such model or API ({status}{reason}): check --engine and --model")
        raise InputError(f"{shown} rejects the request ({status}{reason})")


def read_object(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object of a response, or an empty one."""
    try:
        found = response.json() if response.is_success else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def error_text(error: object) -> str:
    """Return the message in an error object, on one line."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("error") or error
    text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False, default=str)
    return " ".join(text.split())[:_LONGEST_REASON]


def _message(response: httpx2.Response) -> str:
    """Return ": " and the message of an error response, or ""."""
    content = b""
    with suppress(httpx2.HTTPError, httpx2.StreamError):
        for part in response.iter_bytes() if not response.is_closed else [response.content]:
            content += part
            if len(content) > _MOST_BYTES:
                break
    text = content.decode("utf-8", "replace").strip()
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        text = error_text(found.get("error", found) if isinstance(found, dict) else found)
    return f": {' '.join(text.split())[:_LONGEST_REASON]}" if text and not text.startswith("<") else ""


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__


def _shut_down(response: httpx2.Response) -> None:
    """End the connection under a response that another thread reads: closing it would not wake that thread."""
    import socket

    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream else None
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
