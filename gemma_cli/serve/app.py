"""The routes, and what each does with a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from gemma_cli import __version__
from gemma_cli.common.receipts import Receipt
from gemma_cli.core.engine import Engine
from gemma_cli.core.messages import Request
from gemma_cli.serve.answering import json_response
from gemma_cli.serve.api import transcripts
from gemma_cli.serve.api.chat_reply import ChatForm, Reply
from gemma_cli.serve.api.chat_request import Defaults, chat_request, completion_request, forced_call
from gemma_cli.serve.api.errors import ApiError
from gemma_cli.serve.api.fields import ChatBody, CompletionBody, ReplyFields, json_value, validated
from gemma_cli.serve.api.message_form import MessageForm
from gemma_cli.serve.api.messages_body import MessagesBody, PromptBody
from gemma_cli.serve.api.response_form import ResponseForm
from gemma_cli.serve.api.responses_body import ResponsesBody
from gemma_cli.serve.metrics import Metrics
from gemma_cli.serve.responding import counted, respond
from gemma_cli.serve.worker import Worker

SMALL = 16 << 10
"""Bytes of a body that is read within a millisecond, where another thread would cost more than it spares."""

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Service:
    """State that the routes share. names: the model names that a request may use."""

    engine: Engine
    worker: Worker
    metrics: Metrics
    receipt: Receipt
    defaults: Defaults
    names: Collection[str]
    created: int

    def check_model(self, name: str | None) -> None:
        """Raise ApiError for the name of another model."""
        if name is not None and name not in self.names:
            known = ", ".join(self.names)
            message = f"model {name[:100]!r} is not on this server; use {known}, or start the server with --alias"
            raise ApiError(404, message, param="model", code="model_not_found")

    def checked(self, request: Request) -> Request:
        """Return the request. Raises ApiError for one that the engine cannot answer as it should."""
        if request.logprobs is not None and not self.engine.info.logprobs:
            message = f"logprobs: {self.engine.info.model} provides no log-probabilities: leave out logprobs"
            raise ApiError(400, message, param="logprobs")
        return request


Handler = Callable[[Service, HttpRequest], Awaitable[Response]]


class Endpoint:
    """A handler as an application of its own: Starlette puts no layers around it, and Guard answers its errors."""

    def __init__(self, service: Service, handler: Handler) -> None:
        self._service, self._handler = service, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._handler(self._service, HttpRequest(scope, receive, send))
        await response(scope, receive, send)


def application(service: Service) -> Router:
    """Build the application; the guard goes around it. Raises ApiError, ClientGone, HTTPException for a request."""
    routes: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/chat/completions", _chat),
        ("GET", "/health", _health),
        ("GET", "/version", _version),
        ("GET", "/metrics", _metrics),
        ("GET", "/v1/models", _models),
        ("GET", "/v1/models/{name:path}", _model),
        ("POST", "/v1/completions", _completion),
        ("POST", "/v1/messages", _message),
        ("POST", "/v1/messages/count_tokens", _count),
        ("POST", "/v1/responses", _response),
        ("POST", "/v1/audio/transcriptions", _transcribe),
        ("POST", "/v1/audio/translations", _translate),
    ]
    return Router([Route(path, Endpoint(service, handler), methods=[method]) for method, path, handler in routes])


async def _health(service: Service, _request: HttpRequest) -> Response:
    return json_response({"status": "ok", "running": service.worker.running, "waiting": service.worker.waiting})


async def _version(_service: Service, _request: HttpRequest) -> Response:
    return json_response({"version": __version__})


async def _metrics(service: Service, _request: HttpRequest) -> Response:
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def _models(service: Service, _request: HttpRequest) -> Response:
    return json_response({"object": "list", "data": [_model_object(service, name) for name in service.names]})


async def _model(service: Service, request: HttpRequest) -> Response:
    name = request.path_params["name"]
    service.check_model(name)
    return json_response(_model_object(service, name))


def _model_object(service: Service, name: str) -> dict[str, object]:
    info = service.receipt.info
    return {
        "id": name,
        "object": "model",
        "created": service.created,
        "owned_by": "google",
        "root": info.model,
        "max_model_len": info.context,
        "modalities": ["text", *sorted(info.modalities)],
        "drafter": info.assistant,
        "quantization": info.quantize,
        "dtype": info.dtype,
        "exact": info.exact,
    }


async def _chat(service: Service, request: HttpRequest) -> Response:
    body = await _body(request, ChatBody)
    built = await _built(service, body)
    return await _answered(service, request, body, _replies(service, built, body), bool(body.stream))


async def _completion(service: Service, request: HttpRequest) -> Response:
    body = await _body(request, CompletionBody)
    service.check_model(body.model)
    built = service.checked(completion_request(body, service.defaults))
    return await _answered(service, request, body, _replies(service, built, body), bool(body.stream))


async def _message(service: Service, request: HttpRequest) -> Response:
    body = await _body(request, MessagesBody)
    chat = body.as_chat()
    replies = _replies(service, await _built(service, chat), chat)
    return await respond(service.worker, request, replies, MessageForm(replies[0]), bool(body.stream))


async def _count(service: Service, request: HttpRequest) -> Response:
    body = await _body(request, PromptBody)
    tokens = await counted(service.worker, service.engine, await _built(service, body.chat()))
    return json_response({"input_tokens": tokens})


async def _response(service: Service, request: HttpRequest) -> Response:
    body = await _body(request, ResponsesBody)
    chat = body.as_chat()
    replies = _replies(service, await _built(service, chat), chat)
    return await respond(service.worker, request, replies, ResponseForm(replies[0], body), bool(body.stream))


async def _built(service: Service, body: ChatBody) -> Request:
    service.check_model(body.model)
    if body.is_plain:
        return service.checked(chat_request(body, service.defaults))
    return service.checked(await asyncio.to_thread(chat_request, body, service.defaults))


def _replies(service: Service, request: Request, body: ReplyFields) -> list[Reply]:
    """The replies to a request: each has a seed of its own, one more than the one before."""
    replies = []
    for index in range(body.n or 1):
        seed = (request.sampling.seed + index) % 2**32
        own = replace(request, sampling=replace(request.sampling, seed=seed))
        forced = forced_call(body) if isinstance(body, ChatBody) else None
        raw = isinstance(body, CompletionBody)
        replies.append(Reply(own, service.receipt, body.stops, raw, forced, index))
        replies[-1].id = replies[0].id
    return replies


async def _answered(
    service: Service, request: HttpRequest, body: ReplyFields, replies: list[Reply], stream: bool
) -> Response:
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return await respond(service.worker, request, replies, ChatForm(replies, usage), stream)


async def _transcribe(service: Service, request: HttpRequest) -> Response:
    return await transcripts.respond(request, service.worker, service.receipt, service.defaults, service.check_model)


async def _translate(service: Service, request: HttpRequest) -> Response:
    return await transcripts.respond(
        request, service.worker, service.receipt, service.defaults, service.check_model, target="English"
    )


async def _body(request: HttpRequest, kind: type[Body]) -> Body:
    content = await request.body()
    if len(content) <= SMALL:
        return validated(kind, json_value(content))
    return await asyncio.to_thread(lambda: validated(kind, json_value(content)))
