"""Conversion of a Request to the body of POST /v1/chat/completions. Pictures and sound are embedded without loss."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from gemma_cli.core.messages import SAMPLE_RATE, Audio, Image, Message, Request, Text, Video
from gemma_cli.engines.remote.capabilities import Server


def body(request: Request, model: str, server: Server, context: int) -> dict[str, Any]:
    """Write the body that asks `server` for a streamed reply of `model`, which has `context` positions."""
    sampling = request.sampling
    written: dict[str, Any] = {
        "model": model,
        "messages": list(_messages(request.messages)),
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": min(sampling.max_tokens, context),  # more than the context is refused, instead of cut
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        **dict(server.extra),
    }
    if sampling.temperature:
        written["top_p"] = sampling.top_p
        if "top_k" in server.sampling:
            written["top_k"] = sampling.top_k or -1  # no limit: 0 here, -1 there
        if sampling.min_p:
            written["min_p"] = sampling.min_p
    if server.thinking == "template":
        written["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    elif server.thinking == "effort":
        written |= {"reasoning_effort": "medium"} if request.thinking else {}
    if server.raw and not request.tools:  # with tools it answers 500 instead
        written["reasoning_format"] = "none"
    if request.tools:
        written["tools"] = [dict(tool) for tool in request.tools]
    if request.thinking_budget is not None:
        written["thinking_token_budget"] = request.thinking_budget
    if server.budget_and_drafts and not request.drafting.adaptive:
        written["draft_tokens"] = request.drafting.draft_tokens
    if request.image_budget is not None:
        written["mm_processor_kwargs"] = {"max_soft_tokens": request.image_budget}
    if request.schema is not None:
        schema = {"name": "answer", "schema": json.loads(request.schema), "strict": True}
        written["response_format"] = {"type": "json_schema", "json_schema": schema}
    return written


def _messages(messages: tuple[Message, ...]) -> Iterator[dict[str, Any]]:
    """Messages with calls and responses paired by ids, which our own messages do not have."""
    waiting: list[tuple[str, str]] = []  # (tool, id) of calls without a response
    number = 0
    for message in messages:
        if message.tool_calls:
            calls = []
            for call in message.tool_calls:
                number += 1
                waiting.append((call.name, f"call_{number}"))
                calls.append(_call(f"call_{number}", call.name, call.arguments))
            yield {"role": "assistant", "content": message.text or None, "tool_calls": calls}
        elif message.role != "tool":
            yield {"role": message.role, "content": _content(message)}
        for answer in message.tool_responses:
            at = next((i for i, (name, _) in enumerate(waiting) if name == answer.name), None)
            identity = waiting.pop(at)[1] if at is not None else "call_0"
            yield {"role": "tool", "tool_call_id": identity, "name": answer.name, "content": _text(answer.response)}


def _call(identity: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": _text(dict(arguments))}}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _content(message: Message) -> str | list[dict[str, Any]]:
    """Return a single text as a string, which every template takes; else the parts in order."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        for written in _part(part):
            if written["type"] == "text" and parts and parts[-1]["type"] == "text":
                parts[-1]["text"] += written["text"]  # servers join texts with line breaks of their own
            else:
                parts.append(written)
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: Text | Image | Audio | Video) -> Iterator[dict[str, Any]]:
    match part:
        case Text(text):
            yield {"type": "text", "text": text}
        case Image():
            yield {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png(part)}"}}
        case Audio():
            yield {"type": "input_audio", "input_audio": {"data": _wav(part), "format": "wav"}}
        case Video():  # as Gemma 4 reads one: its frames, each after its time
            for frame, second in zip(part.frames, part.seconds, strict=True):
                yield {"type": "text", "text": f"{int(second) // 60:02}:{int(second) % 60:02} "}
                yield from _part(frame)


def _png(image: Image) -> str:
    from PIL import Image as Picture

    written = BytesIO()
    Picture.fromarray(image.pixels).save(written, "PNG", compress_level=1)
    return base64.b64encode(written.getvalue()).decode("ascii")


def _wav(audio: Audio) -> str:
    """Float samples: 16 bits would round them, and the reply would not be the same."""
    import soundfile

    written = BytesIO()
    soundfile.write(written, audio.samples, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return base64.b64encode(written.getvalue()).decode("ascii")
