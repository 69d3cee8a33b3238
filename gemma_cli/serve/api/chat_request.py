"""The body of a request -> what the engine is asked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.json_schema import checked
from gemma_cli.core.messages import Drafting, Message, Part, Request, Sampling, Text, ToolCall, ToolResponse
from gemma_cli.core.settings import ANSWER_TOKENS, THOUGHT_TOKENS
from gemma_cli.serve.api import media
from gemma_cli.serve.api.errors import ApiError, api_error
from gemma_cli.serve.api.fields import (
    AudioPart,
    Call,
    ChatBody,
    ChatMessage,
    CompletionBody,
    ImagePart,
    NamedTool,
    ReplyFields,
    ResponseFormat,
    TextPart,
    VideoPart,
)
from gemma_cli.serve.api.forced_call import ForcedCall

EFFORTS: Mapping[str, int | None] = {"minimal": 128, "low": 512, "medium": 2048, "high": None}
"""Tokens that a thought may have, by `reasoning_effort`; None: any number."""

GEMMA = Sampling()


@dataclass(frozen=True)
class Defaults:
    """Defaults for fields that a request leaves out. may_fetch: whether URLs of images and videos are fetched."""

    drafting: Drafting
    may_fetch: bool = False


def chat_request(body: ChatBody, defaults: Defaults) -> Request:
    """Build the engine's request from the body of a chat completion; decodes media. Raises ApiError."""
    forced = forced_call(body)
    thinking, budget = _thinking(body)
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise ApiError(400, "max_tokens and max_completion_tokens differ: give one of them", param="max_tokens")
    tools = body.tools if body.tool_choice != "none" else None
    return Request(
        messages=tuple(_messages(body.messages, defaults.may_fetch)),
        sampling=_sampling(body, body.max_completion_tokens or body.max_tokens, thinking),
        drafting=_drafting(body, defaults),
        thinking=thinking,
        tools=tuple(tool.model_dump(exclude_none=True) for tool in tools or ()),
        image_budget=body.mm_processor_kwargs.max_soft_tokens if body.mm_processor_kwargs else None,
        thinking_budget=budget,
        schema=_forced_schema(forced, body) if forced else _schema(body.response_format),
        schema_alone=forced is not None,
        logprobs=_logprobs(body),
    )


def forced_call(body: ChatBody) -> ForcedCall | None:
    """The call that the reply has to be; None where it need not be one. Raises ApiError."""
    choice = body.tool_choice
    if choice in (None, "auto", "none"):
        return None
    declared = [tool.function for tool in body.tools or ()]
    if isinstance(choice, NamedTool):
        declared = [function for function in declared if function.name == choice.function.name]
    if not declared:
        raise ApiError(400, "tool_choice: the named function is missing in tools", param="tool_choice")
    return ForcedCall(declared)


def _forced_schema(forced: ForcedCall, body: ChatBody) -> str:
    if body.response_format and body.response_format.type != "text":
        raise ApiError(
            400,
            "response_format: cannot be combined with a required tool call; leave out response_format or tool_choice",
            param="response_format",
        )
    try:
        return forced.schema
    except GemmaError as error:
        raise api_error(error, "tools") from None


def completion_request(body: CompletionBody, defaults: Defaults) -> Request:
    """Build the engine's request from the body of a raw completion."""
    prompt = body.prompt if isinstance(body.prompt, str) else body.prompt[0]
    sampling = _sampling(body, body.max_tokens, False)
    return Request((), sampling, _drafting(body, defaults), logprobs=body.logprobs, raw=prompt)


def _thinking(body: ChatBody) -> tuple[bool, int | None]:
    """Return whether the model thinks, and for how many tokens at most."""
    asked = body.chat_template_kwargs.enable_thinking if body.chat_template_kwargs else None
    effort = body.reasoning_effort
    thinking = asked if asked is not None else effort not in (None, "none")
    if asked is not None and effort is not None and asked == (effort == "none"):
        raise ApiError(
            400,
            "reasoning_effort and enable_thinking contradict each other: leave out one of the two",
            param="reasoning_effort",
        )
    budget = body.thinking_token_budget or EFFORTS.get(effort or "")
    return thinking, budget if thinking else None


def _sampling(body: ReplyFields, max_tokens: int | None, thinking: bool) -> Sampling:
    return Sampling(
        temperature=GEMMA.temperature if body.temperature is None else body.temperature,
        top_k=GEMMA.top_k if body.top_k is None else max(0, body.top_k),
        top_p=GEMMA.top_p if body.top_p is None else body.top_p,
        min_p=GEMMA.min_p if body.min_p is None else body.min_p,
        seed=secrets.randbits(32) if body.seed is None else body.seed,
        max_tokens=max_tokens or (THOUGHT_TOKENS if thinking else ANSWER_TOKENS),
    )


def _logprobs(body: ChatBody) -> int | None:
    """Return how many alternatives to each token are asked for; None where no log-probabilities are."""
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise ApiError(400, "top_logprobs: set logprobs to true too", param="top_logprobs")
    return None


def _drafting(body: ReplyFields, defaults: Defaults) -> Drafting:
    return defaults.drafting if body.draft_tokens is None else Drafting(body.draft_tokens)


def _schema(form: ResponseFormat | None) -> str | None:
    """The JSON schema that the answer is held to."""
    if form is None or form.type == "text":
        return None
    if form.type == "json_schema" and form.json_schema is None:
        raise ApiError(400, "response_format.json_schema: missing", param="response_format")
    schema = form.json_schema.schema_ if form.json_schema else {"type": "object"}
    try:
        return checked(json.dumps(schema), "response_format")
    except RecursionError:
        raise ApiError(400, "response_format: nested too deeply", param="response_format") from None
    except GemmaError as error:
        raise api_error(error, "response_format") from None


def _messages(messages: list[ChatMessage], may_fetch: bool) -> Iterator[Message]:
    called: dict[str, str] = {}  # names of tools by the ids of their calls
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        called |= {call.id: call.function.name for call in message.tool_calls or ()}
        if message.tool_calls and message.role != "assistant":
            raise ApiError(400, f"{place}.tool_calls: only an assistant message can call tools", param=place)
        if message.role == "tool":
            yield Message("tool", tool_responses=(_response(message, called, place),))
            continue
        try:
            parts = tuple(_parts(message, place, may_fetch))
        except InputError as error:
            raise api_error(error, place) from None
        if not parts and not message.tool_calls:
            raise ApiError(400, f"{place}.content: missing", param=place)
        yield Message(
            "system" if message.role == "developer" else message.role,
            parts,
            thinking=message.reasoning_content or message.reasoning or "",
            tool_calls=tuple(_call(call, f"{place}.tool_calls") for call in message.tool_calls or ()),
        )


def _parts(message: ChatMessage, place: str, may_fetch: bool) -> Iterator[Part]:
    content = message.content
    if isinstance(content, str):
        if content or message.role != "assistant":
            yield Text(content)
        return
    for number, part in enumerate(content or ()):
        name = f"{place}.content.{number}"
        match part:
            case TextPart():
                yield Text(part.text)
            case ImagePart():
                yield media.image(part.image_url.url, name, may_fetch)
            case VideoPart():
                yield media.video(part.video_url.url, name, may_fetch)
            case AudioPart():
                yield media.audio(part.input_audio.data, name)


def _call(call: Call, place: str) -> ToolCall:
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise ApiError(400, f"{place}: the arguments of {call.id} are not a JSON object", param=place)
    return ToolCall(call.function.name, arguments)


def _response(message: ChatMessage, called: Mapping[str, str], place: str) -> ToolResponse:
    """Return a tool's result; the model gets a JSON object as an object."""
    name = called.get(message.tool_call_id or "")
    if name is None:
        raise ApiError(
            400, f"{place}.tool_call_id: no earlier message has a tool call with this id", param=f"{place}.tool_call_id"
        )
    content = message.content
    if isinstance(content, list):
        if not all(isinstance(part, TextPart) for part in content):
            raise ApiError(400, f"{place}.content: a tool message can contain only text", param=place)
        content = "".join(part.text for part in content if isinstance(part, TextPart))
    return ToolResponse(name, _object_or_text(content or ""))


def _object_or_text(content: str) -> Any:
    try:
        value: Any = json.loads(content)
    except (ValueError, RecursionError):
        return content
    return value if isinstance(value, dict) else content
