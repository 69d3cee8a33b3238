"""The bodies of Anthropic's interface, POST /v1/messages and count_tokens, and the same as chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from gemma_cli.common.options import MAX_DRAFT_TOKENS, MAX_TOKENS
from gemma_cli.serve.api.errors import ApiError
from gemma_cli.serve.api.fields import ChatBody, Fields, validated

Ignored = Annotated[dict[str, Any] | None, Field(exclude=True)]
"""Marks for a cache: ours needs none."""


class TextBlock(Fields):
    """Text in a message."""

    type: Literal["text"]
    text: str
    cache_control: Ignored = None
    citations: None = None


class ImageSource(Fields):
    """Where an image is: base64, or an address where the server may fetch."""

    type: Literal["base64", "url"]
    media_type: Annotated[str, Field(max_length=64)] | None = None
    data: str | None = None
    url: str | None = None

    @property
    def address(self) -> str:
        """The image as a URL."""
        if self.type == "url":
            return self.url or ""
        return f"data:{self.media_type or 'image/png'};base64,{self.data or ''}"


class ImageBlock(Fields):
    """An image in a message."""

    type: Literal["image"]
    source: ImageSource
    cache_control: Ignored = None


class ToolUse(Fields):
    """A call of an earlier reply."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: Ignored = None


class ToolResult(Fields):
    """A tool's result."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None
    cache_control: Ignored = None


class Thought(Fields):
    """A thought of an earlier reply; templates leave it out."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


Content = Annotated[TextBlock | ImageBlock | ToolUse | ToolResult | Thought, Field(discriminator="type")]


class TurnMessage(Fields):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Content]


class AnthropicTool(Fields):
    """A tool that the model may call."""

    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: Ignored = None


class ToolChoice(Fields):
    """Whether a tool is to be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: Literal[False] | None = None


class Thinking(Fields):
    """Whether the model thinks, and for how many tokens."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    display: str | None = None


class PromptBody(Fields):
    """What makes a prompt; the body of POST /v1/messages/count_tokens."""

    messages: Annotated[list[TurnMessage], Field(min_length=1)]
    model: str | None = None
    system: str | list[TextBlock] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None

    def chat(self, **more: Any) -> ChatBody:
        """The same as the body of a chat completion. Raises ApiError."""
        given = {
            "model": self.model,
            "messages": [*_system(self.system), *(each for m in self.messages for each in _messages(m))],
            "tools": [_tool(tool) for tool in self.tools or ()] or None,
            "tool_choice": _choice(self.tool_choice),
            "chat_template_kwargs": {"enable_thinking": bool(self.thinking and self.thinking.type != "disabled")},
            "thinking_token_budget": self.thinking.budget_tokens if self.thinking else None,
            **more,
        }
        return validated(ChatBody, {name: value for name, value in given.items() if value is not None})


class MessagesBody(PromptBody):
    """The body of POST /v1/messages. seed, min_p and draft_tokens are our own."""

    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stop_sequences: list[str] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    draft_tokens: Annotated[int, Field(ge=0, le=MAX_DRAFT_TOKENS)] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    def as_chat(self) -> ChatBody:
        """The same as the body of a chat completion. Raises ApiError."""
        names = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "draft_tokens")
        return self.chat(stop=self.stop_sequences, **{name: getattr(self, name) for name in names})


def _system(system: str | list[TextBlock] | None) -> Iterator[dict[str, Any]]:
    text = system if isinstance(system, str) else "\n\n".join(block.text for block in system or ())
    if text:
        yield {"role": "system", "content": text}


def _messages(message: TurnMessage) -> Iterator[dict[str, Any]]:
    """A message as chat completions have it: what tools answered are messages of their own, before the rest."""
    if isinstance(message.content, str):
        yield {"role": message.role, "content": message.content}
        return
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thought = ""
    for block in message.content:
        match block:
            case TextBlock():
                parts.append({"type": "text", "text": block.text})
            case ImageBlock():
                parts.append({"type": "image_url", "image_url": {"url": block.source.address}})
            case ToolUse():
                function = {"name": block.name, "arguments": json.dumps(block.input, ensure_ascii=False)}
                calls.append({"id": block.id, "type": "function", "function": function})
            case ToolResult():
                yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": _answer(block)}
            case Thought():
                thought += block.thinking
    if parts or calls:
        fields = {"role": message.role, "content": parts or None, "tool_calls": calls or None}
        yield {**fields, "reasoning": thought or None} if message.role == "assistant" else fields


def _answer(block: ToolResult) -> str:
    text = block.content if isinstance(block.content, str) else "".join(part.text for part in block.content or ())
    return json.dumps({"error": text}, ensure_ascii=False) if block.is_error else text


def _tool(tool: AnthropicTool) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": tool.input_schema}
    return {"type": "function", "function": function | ({"description": tool.description} if tool.description else {})}


def _choice(choice: ToolChoice | None) -> Any:
    match choice:
        case None:
            return None
        case ToolChoice(type="any"):
            return "required"
        case ToolChoice(type="tool"):
            if not choice.name:
                raise ApiError(400, "tool_choice.name: missing", param="tool_choice")
            return {"type": "function", "function": {"name": choice.name}}
    return choice.type
