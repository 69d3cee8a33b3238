"""The body of POST /v1/responses, the newer interface of OpenAI's clients, and the same as a chat completion.

Nothing is stored between requests, so a conversation is sent in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from gemma_cli.common.options import MAX_DRAFT_TOKENS, MAX_TOKENS
from gemma_cli.serve.api.fields import ChatBody, Fields, InputAudio, validated


class InputText(Fields):
    """Text in a message."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class InputImage(Fields):
    """An image in a message: a data: URL, or an address where the server may fetch."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto"] | None = None


class InputSound(Fields):
    """Sound of at most 30 s in a message."""

    type: Literal["input_audio"]
    input_audio: InputAudio


InputPart = Annotated[InputText | InputImage | InputSound, Field(discriminator="type")]


class InputMessage(Fields):
    """One message of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputPart]
    id: str | None = None
    status: str | None = None


class InputCall(Fields):
    """A call of an earlier reply."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class InputAnswer(Fields):
    """A tool's result."""

    type: Literal["function_call_output"]
    call_id: str
    output: str
    id: str | None = None
    status: str | None = None


class InputThought(Fields):
    """A thought of an earlier reply; templates leave it out."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] | None = None
    content: list[Any] | None = None
    status: str | None = None
    encrypted_content: str | None = None


class FunctionTool(Fields):
    """A tool that the model may call."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Fields):
    """A choice of one tool."""

    type: Literal["function"]
    name: str


class TextFormat(Fields):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextOptions(Fields):
    """Format of the answer."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class Reasoning(Fields):
    """Whether the model thinks."""

    effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    summary: Literal["auto"] | None = None


Item = InputMessage | InputCall | InputAnswer | InputThought


class ResponsesBody(Fields):
    """The body of POST /v1/responses. seed, top_k, min_p and draft_tokens are our own."""

    input: str | Annotated[list[Item], Field(min_length=1)]
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    draft_tokens: Annotated[int, Field(ge=0, le=MAX_DRAFT_TOKENS)] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedFunction | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    store: bool | None = None
    parallel_tool_calls: Literal[True] | None = None
    truncation: Literal["disabled"] | None = None
    include: Annotated[list[str], Field(max_length=0)] | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None

    def as_chat(self) -> ChatBody:
        """The same as the body of a chat completion. Raises ApiError."""
        names = ("model", "temperature", "top_p", "top_k", "min_p", "seed", "draft_tokens")
        choice = self.tool_choice
        named = {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedFunction) else choice
        given = {
            **{name: getattr(self, name) for name in names},
            "messages": list(self._messages()),
            "max_completion_tokens": self.max_output_tokens,
            "tools": [_tool(tool) for tool in self.tools or ()] or None,
            "tool_choice": named,
            "response_format": _format(self.text.format if self.text else None),
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
        }
        return validated(ChatBody, {name: value for name, value in given.items() if value is not None})

    def _messages(self) -> Iterator[dict[str, Any]]:
        if self.instructions:
            yield {"role": "system", "content": self.instructions}
        if isinstance(self.input, str):
            yield {"role": "user", "content": self.input}
            return
        calls: list[dict[str, Any]] = []
        for item in self.input:
            if calls and not isinstance(item, InputCall):
                yield {"role": "assistant", "content": None, "tool_calls": calls}
                calls = []
            match item:
                case InputMessage():
                    content = item.content
                    parts = content if isinstance(content, str) else [_part(part) for part in content]
                    yield {"role": item.role, "content": parts}
                case InputCall():
                    function = {"name": item.name, "arguments": item.arguments}
                    calls.append({"id": item.call_id, "type": "function", "function": function})
                case InputAnswer():
                    yield {"role": "tool", "tool_call_id": item.call_id, "content": item.output}
        if calls:
            yield {"role": "assistant", "content": None, "tool_calls": calls}


def _part(part: InputText | InputImage | InputSound) -> dict[str, Any]:
    match part:
        case InputImage():
            return {"type": "image_url", "image_url": {"url": part.image_url}}
        case InputSound():
            return {"type": "input_audio", "input_audio": part.input_audio.model_dump(exclude_none=True)}
    return {"type": "text", "text": part.text}


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})}


def _format(form: TextFormat | None) -> dict[str, Any] | None:
    if form is None:
        return None
    if form.type != "json_schema":
        return {"type": form.type}
    return {"type": "json_schema", "json_schema": {"name": form.name, "schema": form.schema_ or {}}}
