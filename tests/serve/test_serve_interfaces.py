"""Anthropic's interface and OpenAI's newer one: the same replies as chat completions, in their forms."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.serve.server import Server, chat, events, text_of

COUNT = "Count from 1 to 10."
SUM = "What is 123 + 456?"
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
ADD = {"type": "function", "function": {"name": "add", "description": "Add two numbers.", "parameters": NUMBERS}}
ADD_ANTHROPIC = {"name": "add", "description": "Add two numbers.", "input_schema": NUMBERS}
ADD_RESPONSES = {"type": "function", "name": "add", "description": "Add two numbers.", "parameters": NUMBERS}


def posted(server: Server, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    with server.client() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def streamed(server: Server, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of a stream of named events."""
    with server.client() as client:
        content = client.post(path, json=body | {"stream": True}).text
    found = []
    for part in content.strip().split("\n\n"):
        if not part.startswith(":"):
            name, data = part.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 100, "seed": 1, **more}


def test_messages_say_what_chat_completions_say(server: Server) -> None:
    whole = posted(server, "/v1/chat/completions", chat(COUNT))
    message = posted(server, "/v1/messages", asked(COUNT))
    assert message["content"] == [{"type": "text", "text": text_of(whole)}]
    assert (message["stop_reason"], message["role"], message["type"]) == ("end_turn", "assistant", "message")
    assert message["usage"]["input_tokens"] == whole["usage"]["prompt_tokens"]
    assert message["usage"]["output_tokens"] == whole["usage"]["completion_tokens"]
    assert message["gemma"]["seed"] == 1
    told = streamed(server, "/v1/messages", asked(COUNT))
    kinds = [event["type"] for event in told]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(e["delta"]["text"] for e in told if e["type"] == "content_block_delta") == text_of(whole)
    assert told[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert posted(server, "/v1/messages/count_tokens", {"messages": asked(COUNT)["messages"]}) == {
        "input_tokens": message["usage"]["input_tokens"]
    }


def test_messages_think_stop_and_call(server: Server) -> None:
    thought = posted(server, "/v1/messages", asked("What is 3 + 4?", thinking={"type": "enabled", "budget_tokens": 64}))
    assert [block["type"] for block in thought["content"]] == ["thinking", "text"]
    stopped = posted(server, "/v1/messages", asked(COUNT, temperature=0, stop_sequences=["9", "5"]))
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "5")
    assert stopped["content"][0]["text"] == "1, 2, 3, 4, "
    assert posted(server, "/v1/messages", asked(COUNT, max_tokens=3))["stop_reason"] == "max_tokens"
    called = posted(server, "/v1/messages", asked(SUM, temperature=0, tools=[ADD_ANTHROPIC]))
    (call,) = called["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "add", {"a": 123, "b": 456})
    assert called["stop_reason"] == "tool_use"
    told = streamed(server, "/v1/messages", asked(SUM, temperature=0, tools=[ADD_ANTHROPIC]))
    assert (
        json.loads("".join(e["delta"]["partial_json"] for e in told if e["type"] == "content_block_delta"))
        == (call["input"])
    )
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "579"}]}
    conversation = [
        {"role": "user", "content": SUM},
        {"role": "assistant", "content": called["content"]},
        {"role": "user", "content": [result]},
    ]
    answer = posted(server, "/v1/messages", asked("", temperature=0, tools=[ADD_ANTHROPIC], messages=conversation))
    assert "579" in answer["content"][0]["text"]


def test_errors_of_messages_have_the_form_of_their_clients(server: Server) -> None:
    error = posted(server, "/v1/messages", {"messages": [{"role": "user", "content": "x"}]}, 400)
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert "max_tokens" in error["error"]["message"]
    assert posted(server, "/v1/messages", asked("x", model="claude"), 404)["type"] == "error"


def test_responses_say_what_chat_completions_say(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    whole = text_of(posted(server, "/v1/chat/completions", chat(COUNT)))
    response = client.responses.create(model="pocket", input=COUNT, extra_body={"seed": 1})
    assert (response.output_text, response.status) == (whole, "completed")
    with client.responses.stream(model="pocket", input=COUNT, extra_body={"seed": 1}) as stream:
        told = list(stream)
        assert stream.get_final_response().output_text == whole
    assert [told[0].type, told[-1].type] == ["response.created", "response.completed"]
    assert [event.sequence_number for event in told] == list(range(len(told)))  # type: ignore[union-attr]
    short = client.responses.create(model="pocket", input=COUNT, max_output_tokens=3)
    assert (short.status, short.output[0].status) == ("incomplete", "incomplete")  # type: ignore[union-attr]
    called = client.responses.create(model="pocket", input=SUM, temperature=0, tools=[ADD_RESPONSES])  # type: ignore
    (call,) = called.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "add", {"a": 123, "b": 456})
    again: list[Any] = [
        {"role": "user", "content": SUM},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "579"},
    ]
    answer = client.responses.create(model="pocket", input=again, temperature=0, tools=[ADD_RESPONSES])  # type: ignore
    assert "579" in answer.output_text
    form = {"type": "json_schema", "name": "c", "schema": {"enum": ["red", "blue"]}}
    held = client.responses.create(model="pocket", input="Pick.", text={"format": form})  # type: ignore
    assert json.loads(held.output_text) in ("red", "blue")


def test_several_replies_are_those_of_seeds_in_a_row(server: Server) -> None:
    body = chat("What is 3 + 4?", temperature=3.0, top_k=0, top_p=1, max_tokens=6)
    alone = [text_of(posted(server, "/v1/chat/completions", body | {"seed": seed})) for seed in (1, 2, 3)]
    assert len(set(alone)) == 3
    several = posted(server, "/v1/chat/completions", body | {"n": 3})
    assert [choice["message"]["content"] for choice in several["choices"]] == alone
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    with server.client() as client:
        told = events(client.post("/v1/chat/completions", json=body | {"n": 3, "stream": True}).text)
    texts = ["", "", ""]
    for choice in (choice for chunk in told for choice in chunk["choices"]):
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == alone
    assert len({chunk["id"] for chunk in told}) == 1


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
@pytest.mark.parametrize("several", [False, True])
def test_a_call_can_be_demanded(server: Server, choice: Any, several: bool) -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": {"enum": [1]}}}
    small = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    tools = [{"type": "function", "function": {"name": "add", "parameters": small}}, *([other] * several)]
    body = chat("Hello", tools=tools, tool_choice=choice, stop=["{"])
    (choice_made,) = posted(server, "/v1/chat/completions", body)["choices"]
    (call,) = choice_made["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    assert choice_made["finish_reason"] == "tool_calls"
    assert choice_made["message"]["content"] is None
    assert (call["function"]["name"], arguments) in [("add", {"a": 1}), ("add", {"a": 2}), ("other", 1)]
    if choice != "required":
        assert call["function"]["name"] == "add"
    with server.client() as client:
        told = events(client.post("/v1/chat/completions", json=body | {"stream": True}).text)
    parts = [part["function"] for chunk in told for part in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert json.loads("".join(part["arguments"] for part in parts)) == arguments
    assert [part["name"] for part in parts if "name" in part] == [call["function"]["name"]]
