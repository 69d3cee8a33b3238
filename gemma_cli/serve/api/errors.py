"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gemma_cli.core.errors import GemmaError, OutOfMemory, TemplateRefused, TemplateTooCostly, UsageError


@dataclass
class ApiError(Exception):
    """An error response to a request. param: the field of the body that is at fault."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The JSON body of the response."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


class ClientGone(Exception):
    """The client closed the connection before the answer was complete."""


def unavailable(message: str, retry_after_s: int = 1) -> ApiError:
    """The error of a server that cannot answer now: 503."""
    return ApiError(503, message, "server_error", headers={"retry-after": str(retry_after_s)})


def api_error(error: GemmaError, param: str | None = None) -> ApiError:
    """Translate an error of the engine or of an input."""
    if isinstance(error, OutOfMemory):
        return unavailable(str(error))
    if isinstance(error, (UsageError, TemplateRefused, TemplateTooCostly)):
        return ApiError(400, str(error), param=param)
    return ApiError(500, str(error), "server_error")
