"""POST /v1/responses: the newer interface of OpenAI's clients, on the same requests and replies as chat completions.

Nothing is stored between requests, so a conversation is sent in full.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from gemma_cli.common.options import MAX_DRAFT_TOKENS, MAX_TOKENS
from gemma_cli.serve.answering import sse
from gemma_cli.serve.api.blocks import Block, BlockForm
from gemma_cli.serve.api.chat_reply import Reply
from gemma_cli.serve.api.errors import ApiError
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


class ResponseForm(BlockForm):
    """A reply as clients of the Responses interface read it."""

    def __init__(self, reply: Reply, body: ResponsesBody) -> None:
        super().__init__()
        self._reply, self._body = reply, body
        self._token = secrets.token_hex(12)
        self._number = 0

    def _finish(self) -> Iterator[bytes]:
        whole = self._object(self._status, self._items())
        yield self._event(f"response.{self._status}", response=whole)

    def whole(self, deltas: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
        """See responding.Form."""
        for delta in deltas[0]:
            list(self._blocks.feed(delta))
        return self._object(self._status, self._items())

    def error(self, error: ApiError) -> bytes:
        """See responding.Form."""
        return self._event("error", code=error.code or error.kind, message=error.message, param=error.param)

    def _items(self) -> list[dict[str, Any]]:
        """The output; only its last item can have been cut off."""
        *whole, last = self._blocks.all or [Block(0, "text")]
        return [*(self._item(block, "completed") for block in whole), self._item(last, self._status)]

    @property
    def _status(self) -> str:
        return "incomplete" if self._reply.finish_reason == "length" else "completed"

    def _start(self) -> Iterator[bytes]:
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self._object("in_progress", []))

    def _object(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        body, reply = self._body, self._reply
        sampling, usage = reply.request.sampling, reply.usage
        ended = status != "in_progress"
        counts = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
        tools = [tool.model_dump() for tool in body.tools or ()]
        choice = body.tool_choice
        return {
            "id": f"resp_{self._token}",
            "object": "response",
            "created_at": reply.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": reply.receipt.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "store": False,
            "temperature": sampling.temperature,
            "text": {"format": _format_again(body.text)},
            "tool_choice": choice.model_dump() if isinstance(choice, NamedFunction) else choice or "auto",
            "tools": tools,
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "usage": counts if ended else None,
            "metadata": body.metadata or {},
        } | ({"gemma": dict(reply.gemma())} if ended else {})

    def _item(self, block: Block, status: str) -> dict[str, Any]:
        """One item of the output. status: "in_progress" for one that is still empty."""
        name = f"{self._token}{block.index}"
        empty = status == "in_progress"
        match block.kind:
            case "text":
                content = [] if empty else [_text(block.text)]
                return {
                    "id": f"msg_{name}",
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": content,
                }
            case "thinking":
                thought = [] if empty else [{"type": "reasoning_text", "text": block.text}]
                return {"id": f"rs_{name}", "type": "reasoning", "summary": [], "content": thought, "status": status}
        return {
            "id": f"fc_{name}",
            "type": "function_call",
            "status": status,
            "call_id": block.id,
            "name": block.name,
            "arguments": "" if empty else block.text,
        }

    def _block(self, kind: str, block: Block) -> Iterator[bytes]:
        """See BlockForm._block."""
        item = self._item(block, "in_progress" if kind == "begun" else "completed")
        place = {"item_id": item["id"], "output_index": block.index}
        inside = place | {"content_index": 0}
        names = {"text": "output_text", "thinking": "reasoning_text", "call": "function_call_arguments"}
        name = f"response.{names[block.kind]}"
        within = place if block.kind == "call" else inside
        more: dict[str, Any] = {"logprobs": []} if block.kind == "text" else {}
        if kind == "begun":
            yield self._event("response.output_item.added", output_index=block.index, item=item)
            if block.kind == "text":
                yield self._event("response.content_part.added", **inside, part=_text(""))
        elif kind == "more":
            yield self._event(f"{name}.delta", **within, delta=block.new, **more)
        else:
            done = {"arguments": block.text, "name": block.name} if block.kind == "call" else {"text": block.text}
            yield self._event(f"{name}.done", **within, **done, **more)
            if block.kind == "text":
                yield self._event("response.content_part.done", **inside, part=_text(block.text))
            yield self._event("response.output_item.done", output_index=block.index, item=item)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse({"type": kind, "sequence_number": number, **fields}, kind)


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _format_again(text: TextOptions | None) -> dict[str, Any]:
    form = text.format if text else None
    return form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
