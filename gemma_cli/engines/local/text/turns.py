"""Messages in the form that chat templates read: dicts and lists, with text that a tokenizer takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import Audio, Image, Message, Part, Text, Video

Kind = Literal["image", "audio", "video"]


def turns_of(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Return messages in the form that templates read.

    Thoughts are dropped, but for those since the last user message: a thought between tool calls is part of the turn
    that goes on (the template decides). What a tool answered stands on the message that called it, which is the form
    that every revision of the template knows; the text after it belongs there too, the text before it before it.
    """
    last_user = max((i for i, message in enumerate(messages) if message.role == "user"), default=-1)
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        calls = turns[-1] if turns and "tool_calls" in turns[-1] and not turns[-1]["content"] else None
        if message.role == "tool" and calls:
            calls["tool_responses"] += _responses(message)
        elif message.role == "assistant" and calls and calls["tool_responses"] and not message.tool_calls:
            calls["content"] = _content(message)
        elif message.tool_calls or message.tool_responses:
            if message.text:
                turns.append({"role": "assistant", "content": _content(message)})
            turns.append(_calls(message, message.thinking if index > last_user else ""))
        else:
            turns.append({"role": message.role, "content": _content(message)})
    return turns


def _calls(message: Message, thinking: str) -> dict[str, Any]:
    turn: dict[str, Any] = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": clean(call.name), "arguments": plain_data(call.arguments)}}
            for call in message.tool_calls
        ],
        "tool_responses": _responses(message),
    }
    return turn | ({"reasoning": clean(thinking)} if thinking else {})


def _responses(message: Message) -> list[dict[str, Any]]:
    return [{"name": clean(answer.name), "response": plain_data(answer.response)} for answer in message.tool_responses]


def _content(message: Message) -> str | list[dict[str, str]]:
    """Return content of text only as a string: templates trim each item of a list, and the early ones take no list from
    the system."""
    if all(isinstance(part, Text) for part in message.parts):
        return clean(message.text)
    if message.role != "user":
        raise InputError(
            f"a {message.role} message can contain only text: put {name_of(message.parts[0])} in a user message"
        )
    items: list[dict[str, str]] = []
    for part in message.parts:
        if not isinstance(part, Text):
            items.append({"type": kind_of(part)})
        elif items and items[-1]["type"] == "text":
            items[-1]["text"] += clean(part.text)
        else:
            items.append({"type": "text", "text": clean(part.text)})
    return items


def plain_data(value: Any) -> Any:
    """Frozen mappings and tuples as the dicts and lists that templates test for, with text that can be tokenized."""
    if isinstance(value, Mapping):
        return {clean(str(key)): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return clean(value) if isinstance(value, str) else value


def keys_in(value: Any) -> Iterator[str]:
    """Yield every key in nested dicts; sanitizing does not change keys."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from keys_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from keys_in(item)


def clean(text: str) -> str:
    """Lone surrogates, which is how undecodable input arrives, become U+FFFD: a tokenizer refuses them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def kind_of(part: Part) -> Kind:
    match part:
        case Image():
            return "image"
        case Audio():
            return "audio"
        case Video():
            return "video"
    raise TypeError(part)


def name_of(part: Part) -> str:
    return "text" if isinstance(part, Text) else part.name
