"""Bodies of requests: which fields there are and what they may hold.

A field is used, or holds what asks for nothing, or is refused by name; nothing is silently ignored.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gemma_cli.common.options import MAX_DRAFT_TOKENS, MAX_TOKENS
from gemma_cli.serve.api.errors import ApiError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "parallel_tool_calls": (True,),
    "modalities": (["text"],),
    "echo": (False,),
    "suffix": ("",),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Fields that are not supported, and the values of theirs that ask for nothing; null is one of each."""

LABELS = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""Fields that label a request for its sender and ask for nothing."""

MOST_STOPS = 16
MOST_REPLIES = 16
"""Of one request: each takes a place in the line."""
MOST_PLAIN = 256
"""Messages of a body that is made a request within a millisecond."""
MOST_ALTERNATIVES = 20
"""Tokens whose log-probabilities are given at each place."""

Body = TypeVar("Body", bound=BaseModel)


class Fields(BaseModel):
    """A JSON object that allows only its declared fields."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TextPart(Fields):
    """Text in a message."""

    type: Literal["text"]
    text: str


class ImageUrl(Fields):
    """The source of an image: a data: URL, or an address that the server may fetch."""

    url: str
    detail: Literal["auto"] | None = None


class ImagePart(Fields):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class VideoUrl(Fields):
    """The source of a video: a data: URL, or an address that the server may fetch."""

    url: str


class VideoPart(Fields):
    """A video in a message; the model sees its frames."""

    type: Literal["video_url"]
    video_url: VideoUrl


class InputAudio(Fields):
    """Sound as base64. format: a hint; the decoder looks at the data."""

    data: str
    format: Annotated[str, Field(max_length=16)] | None = None


class AudioPart(Fields):
    """Sound of at most 30 s in a message."""

    type: Literal["input_audio"]
    input_audio: InputAudio


ContentPart = Annotated[TextPart | ImagePart | VideoPart | AudioPart, Field(discriminator="type")]


class CalledFunction(Fields):
    """The function of a tool call. arguments: a JSON object as text."""

    name: str
    arguments: str


class Call(Fields):
    """A tool call of an earlier reply."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class ChatMessage(Fields):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    audio: None = None
    annotations: list[Any] | None = Field(None, max_length=0)
    function_call: None = None


class StreamOptions(Fields):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class JsonSchema(Fields):
    """A JSON schema for the answer."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(Fields):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class TemplateArguments(Fields):
    """Arguments for the chat template."""

    enable_thinking: bool | None = None


class ImageBudget(Fields):
    """The number of tokens for an image."""

    max_soft_tokens: Literal[70, 140, 280, 560, 1120]


class FunctionName(Fields):
    """The name of a function."""

    name: str


class NamedTool(Fields):
    """A choice of one tool."""

    type: Literal["function"]
    function: FunctionName


class DeclaredFunction(Fields):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Fields):
    """A tool that the model may call."""

    type: Literal["function"]
    function: DeclaredFunction


class ReplyFields(Fields):
    """Fields that chat and raw completions share: the model, sampling, and the end of the reply."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    stop: str | list[str] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    draft_tokens: Annotated[int, Field(ge=0, le=MAX_DRAFT_TOKENS)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_REPLIES)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _neutral(cls, values: Any) -> Any:
        """Drop fields whose value has no effect. Raises ApiError for an unsupported field with an effect."""
        if not isinstance(values, dict):
            return values
        for name, allowed in NEUTRAL.items():
            if values.get(name) is not None and values[name] not in allowed:
                raise ApiError(400, f"{name}: this server does not support the field; leave out {name}", param=name)
        dropped = {*NEUTRAL, *LABELS}
        return {name: value for name, value in values.items() if name not in dropped}

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the reply. Raises ApiError."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stops) > MOST_STOPS or not all(stops):
            raise ApiError(400, f"stop: give at most {MOST_STOPS} strings, none of them empty", param="stop")
        return stops


class ChatBody(ReplyFields):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    thinking_token_budget: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    chat_template_kwargs: TemplateArguments | None = None
    mm_processor_kwargs: ImageBudget | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is made a request at once: no media to decode or fetch, and no schema to compile."""
        texts = all(isinstance(message.content, str | None) for message in self.messages)
        return texts and not self.tools and not self.response_format and len(self.messages) <= MOST_PLAIN


class CompletionBody(ReplyFields):
    """The body of POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None


def json_value(content: bytes) -> Any:
    """Parse a body. Raises ApiError if it is not JSON."""
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and numbers of too many digits too
        raise ApiError(400, f"the body is not JSON: {' '.join(str(error).split())[:200]}") from None


def validated(kind: type[Body], value: Any) -> Body:
    """The fields of a body. Raises ApiError naming the field that is at fault."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
        # pydantic names the members of a union too, such as list[...]
        place = ".".join(step for step in map(str, fault["loc"]) if "[" not in step and step != "str")[:200]
        message = fault["msg"]
        if fault["type"] == "extra_forbidden":
            message = "this server does not support the field; leave out the field"
        raise ApiError(400, f"{place}: {message}" if place else message, param=place or None) from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
