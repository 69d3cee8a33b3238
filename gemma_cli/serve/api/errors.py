"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gemma_cli.core.errors import GemmaError, OutOfMemory, TemplateRefused, TemplateTooCostly, UsageError


@dataclass
class ApiError(Exception):
    """An error response to a request. param: the field of the body that is at fault.

    cause: the engine's or an input's own error, where it is one.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cause: GemmaError | None = None

    def body(self) -> dict[str, Any]:
        """The JSON body of the response; `type` is for Anthropic's clients."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"type": "error", "error": error}


class ClientGone(Exception):
    """The client closed the connection before the answer was complete."""


def unavailable(message: str, retry_after_s: int = 1) -> ApiError:
    """The error of a server that cannot answer now: 503."""
    return ApiError(503, message, "server_error", headers={"retry-after": str(retry_after_s)})


def api_error(error: GemmaError, param: str | None = None) -> ApiError:
    """Translate an error of the engine or of an input."""
    if isinstance(error, OutOfMemory):
        translated = unavailable(str(error))
    elif isinstance(error, (UsageError, TemplateRefused, TemplateTooCostly)):
        translated = ApiError(400, str(error), param=param)
    else:
        translated = ApiError(500, str(error), "server_error")
    translated.cause = error
    return translated
