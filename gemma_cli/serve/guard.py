"""Access control, size limits, and one line of JSON in the log for every request."""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_cli.serve.answering import error_response
from gemma_cli.serve.api.errors import ApiError, ClientGone
from gemma_cli.views.sanitize import safe_json

STALL_S = 30.0
"""Seconds without a byte after which a body counts as never coming."""

UPLOADS = ("/v1/audio/transcriptions", "/v1/audio/translations")
OPEN = ("/health",)
"""Answered without a key."""

GONE = 499
"""The status that the log shows after a client disconnected, as in nginx."""

PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-type, x-api-key, anthropic-version",
    "access-control-max-age": "600",
}
"""Headers that an allowed page may send."""


@dataclass(frozen=True)
class Rules:
    """hosts: names that the Host header may hold, without ports. origins: of web pages that may use the server.

    Sizes are in bytes.
    """

    hosts: Collection[str]
    api_keys: tuple[str, ...] = ()
    origins: Collection[str] = ()
    most_body: int = 64 << 20
    most_upload: int = 2 << 30
    access_log: bool = True


class Guard:
    """Stands around the application: checks headers, limits bodies, writes the log."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        log: dict[str, Any] = scope.setdefault("state", {}).setdefault("log", {})
        status = 0

        headers = Headers(scope=scope)
        scope["app"] = self  # so that the router raises what it does not find
        origin = self._allowed_origin(headers)

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if origin and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({"access-control-allow-origin": origin, "vary": "Origin"})
            await send(message)

        try:
            self._check(headers, origin)
            if origin and scope["method"] == "OPTIONS":  # a browser asks first, and without a key
                await Response(status_code=204, headers=PREFLIGHT)(scope, receive, noted)
                return
            self._check_key(scope["path"], headers)
            limit = self._rules.most_upload if scope["path"] in UPLOADS else self._rules.most_body
            await self._app(scope, _limited(headers, receive, limit), noted)
        except (ApiError, HTTPException) as error:
            if not status:
                await error_response(_api_error(error))(scope, receive, noted)
        except ClientGone:
            log["gone"], status = True, status or GONE
        except Exception as error:
            log["error"] = f"{type(error).__name__}: {error}"
            if not status:
                failed = ApiError(500, "internal error: see the log of the server", "server_error")
                await error_response(failed)(scope, receive, noted)
        finally:
            if self._rules.access_log:
                _write_log(scope, status, time.perf_counter() - began, log)

    def _allowed_origin(self, headers: Headers) -> str | None:
        """Return the origin of the page that makes the request, if it may use the server."""
        known = _host(headers.get("host", "")) in self._rules.hosts
        return headers["origin"] if known and headers.get("origin") in self._rules.origins else None

    def _check(self, headers: Headers, origin: str | None) -> None:
        """Raise ApiError for a request to another host, or that a web page without permission may have made."""
        if _host(headers.get("host", "")) not in self._rules.hosts:
            raise ApiError(
                403,
                "the Host header names an unknown host: to accept this host, start the server with --allowed-host",
                "forbidden",
            )
        elsewhere = "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if elsewhere and not origin:
            raise ApiError(
                403,
                "web pages may not use this server: to allow a web page, start the server with --allowed-origin",
                "forbidden",
            )

    def _check_key(self, path: str, headers: Headers) -> None:
        """Raise ApiError for a request without a valid key."""
        if self._rules.api_keys and path not in OPEN and not self._has_key(headers):
            raise ApiError(
                401,
                "the request has no valid API key: send the header Authorization: Bearer KEY",
                "authentication_error",
            )

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return any(hmac.compare_digest(given.encode(), key.encode()) for key in self._rules.api_keys)


def _api_error(error: ApiError | HTTPException) -> ApiError:
    """An error of the routes, such as 404, as every other."""
    error.__traceback__ = None  # whose frames hold the request
    return error if isinstance(error, ApiError) else ApiError(error.status_code, error.detail)


def _host(header: str) -> str:
    """Return the host name in a Host header, without its port; "" if there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _limited(headers: Headers, receive: Receive, limit: int) -> Receive:
    """Same as `receive`; raises ApiError for a body that is too large or does not come."""
    length = headers.get("content-length", "")
    taken, complete = 0, False
    too_large = ApiError(413, f"the body of the request is larger than {limit >> 20} MiB, the limit of this server")

    async def limited() -> Message:
        nonlocal taken, complete
        if complete:
            return await receive()
        if length.isdigit() and int(length[:20]) > limit:
            raise too_large
        try:
            async with asyncio.timeout(STALL_S):
                message = await receive()
        except TimeoutError:
            raise ApiError(408, f"no data of the request body arrived for {STALL_S:.0f} s") from None
        taken += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if taken > limit:
            raise too_large
        return message

    return limited


def _write_log(scope: Scope, status: int, seconds: float, more: dict[str, Any]) -> None:
    fields = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "client": scope["client"][0] if scope.get("client") else None,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status or None,
        "seconds": round(seconds, 4),
        **more,
    }
    print(safe_json(json.dumps(fields)), file=sys.stderr, flush=True)
