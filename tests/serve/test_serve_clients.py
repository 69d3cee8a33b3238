"""OpenAI's own client against a real server: chat, streams, tools, schemas, images, sound."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.serve.server import Server, chat, events, text_of

ROOT = Path(__file__).parents[2]
HUND = ROOT / "tests" / "media" / "hund.de.wav"
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_the_text_is_that_of_the_command_line(client: openai.OpenAI, warm_program: str) -> None:
    answer = client.chat.completions.create(model="pocket", messages=asked("Tell me a story."), seed=7, max_tokens=40)
    command = ["chat", "Tell me a story.", "--seed", "7", "--max-tokens", "40", "--model", "pocket", "-q"]
    done = subprocess.run(
        [warm_program, *command],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    assert done.stdout.rstrip("\n") == (answer.choices[0].message.content or "").rstrip("\n")
    assert answer.system_fingerprint
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    receipt = (answer.model_extra or {})["gemma"]
    assert (receipt["seed"], receipt["exact"], len(receipt["model_sha256"])) == (7, True, 64)


def test_a_stream_adds_up_to_the_reply(client: openai.OpenAI) -> None:
    wanted: dict[str, Any] = {"model": "pocket", "messages": asked("Count from 1 to 10."), "seed": 3}
    whole = client.chat.completions.create(**wanted)
    chunks = list(client.chat.completions.create(**wanted, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert len([piece for piece in pieces if piece]) > 3
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_drafting_does_not_change_a_text(client: openai.OpenAI) -> None:
    texts = {
        client.chat.completions.create(
            model="pocket",
            messages=asked("Tell me a story."),
            seed=5,
            max_tokens=32,
            extra_body={"draft_tokens": n},
        )
        .choices[0]
        .message.content
        for n in (0, 1, 7)
    }
    assert len(texts) == 1


def test_a_tool_is_called_and_answers(client: openai.OpenAI) -> None:
    messages = asked("What is 123 + 456?")
    for stream in (False, True):
        if stream:
            chunks = client.chat.completions.create(
                model="pocket",
                messages=messages,
                tools=[ADD],
                temperature=0,
                stream=True,  # type: ignore[list-item]
            )
            choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
            calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
            reason = choices[-1].finish_reason
        else:
            choice = client.chat.completions.create(
                model="pocket",
                messages=messages,
                tools=[ADD],
                temperature=0,  # type: ignore[list-item]
            ).choices[0]
            calls, reason = choice.message.tool_calls or [], choice.finish_reason  # type: ignore[assignment]
        assert reason == "tool_calls"
        assert calls[0].function
        assert json.loads(calls[0].function.arguments or "") == {"a": 123, "b": 456}
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 123, "b": 456}'}}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"result": 579}'},
    ]
    last = client.chat.completions.create(model="pocket", messages=messages, tools=[ADD], temperature=0)  # type: ignore[list-item]
    assert "579" in (last.choices[0].message.content or "")
    none = client.chat.completions.create(
        model="pocket",
        messages=messages[:1],
        tools=[ADD],
        tool_choice="none",
        temperature=0,  # type: ignore[list-item]
    )
    assert none.choices[0].message.tool_calls is None


def test_an_answer_is_held_to_a_schema(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    answer = client.chat.completions.create(
        model="pocket", messages=asked("Who are you?"), seed=2, response_format=form
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert sorted(found) == ["age", "name"]
    assert isinstance(found["age"], int)


def test_thoughts_come_under_both_names(server: Server) -> None:
    with server.client() as client:
        body = chat("What is 2 + 3?", temperature=0)
        for asking in ({"reasoning_effort": "low"}, {"chat_template_kwargs": {"enable_thinking": True}}):
            message = client.post("/v1/chat/completions", json=body | asking).json()["choices"][0]["message"]
            assert message["reasoning"] == message["reasoning_content"] != ""
        assert "reasoning" not in client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
        streamed = client.post(
            "/v1/chat/completions", json=body | {"stream": True, "chat_template_kwargs": {"enable_thinking": True}}
        )
        deltas = [event["choices"][0]["delta"] for event in events(streamed.text)]
        assert "".join(delta.get("reasoning", "") for delta in deltas) == message["reasoning"]


def test_images_and_sound_reach_the_model(client: openai.OpenAI) -> None:
    picture = base64.b64encode((ROOT / "gemma_cli" / "samples" / "shapes.png").read_bytes()).decode()
    sound = base64.b64encode(HUND.read_bytes()).decode()
    contents: list[list[Any]] = [
        [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
            {"type": "text", "text": "?"},
        ],
        [
            {"type": "text", "text": "Transcribe this."},
            {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
        ],
    ]
    plain, *tokens = (
        client.chat.completions.create(
            model="pocket", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=20
        )
        for content in ("?", *contents)
    )
    assert plain.usage
    assert all(one.usage and one.usage.prompt_tokens > plain.usage.prompt_tokens + 20 for one in tokens)
    assert "Hund" in (tokens[1].choices[0].message.content or "")


def test_stop_texts_end_a_reply(server: Server) -> None:
    with server.client() as client:
        body = chat("Count from 1 to 10.", temperature=0, stop=[", 4", "zzz"])
        answer = client.post("/v1/chat/completions", json=body).json()
        streamed = client.post("/v1/chat/completions", json=body | {"stream": True})
    assert (text_of(answer), answer["choices"][0]["finish_reason"]) == ("1, 2, 3", "stop")
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events(streamed.text)) == "1, 2, 3"


def test_min_p_and_its_kin_are_used(server: Server) -> None:
    with server.client() as client:
        story = chat("Tell me a story.", max_tokens=24)
        greedy, *narrow = (
            text_of(client.post("/v1/chat/completions", json=story | more).json())
            for more in ({"temperature": 0}, {"min_p": 1.0}, {"top_k": 1}, {"top_p": 0.0})
        )
    assert narrow == [greedy] * 3


def test_a_raw_completion_is_the_chat_it_spells(server: Server) -> None:
    with server.client() as client:
        spelled = "<|turn>user\nCount from 1 to 4.<turn|>\n<|turn>model\n"
        raw = client.post("/v1/completions", json={"prompt": spelled, "temperature": 0}).json()
        said = client.post("/v1/chat/completions", json=chat("Count from 1 to 4.", temperature=0)).json()
    assert raw["choices"][0]["text"] == text_of(said)
    assert raw["object"] == "text_completion"


@pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json"])
def test_recordings_are_transcribed(client: openai.OpenAI, form: Any) -> None:
    with HUND.open("rb") as file:
        made: Any = client.audio.transcriptions.create(
            model="whisper-1", file=file, response_format=form, language="de", temperature=0
        )
    text = made if isinstance(made, str) else made.text
    assert "Der Hund ist im Garten." in text
    if form == "srt":
        assert text.startswith("1\n00:00:0")
    if form == "verbose_json":
        assert (made.language, [segment.text for segment in made.segments]) == ("german", [text])


def test_transcripts_stream_and_translations_come(client: openai.OpenAI, server: Server) -> None:
    before = len(server.lines())
    with HUND.open("rb") as file:
        stream = client.audio.transcriptions.create(model="pocket", file=file, stream=True)
        told = list(stream)
    assert [event.type for event in told] == ["transcript.text.delta", "transcript.text.done"]
    with HUND.open("rb") as file:
        translated = client.audio.translations.create(model="pocket", file=file)
    assert "dog" in translated.text
    assert server.line_after(before + 1)["segments"] == 1


def test_the_model_and_its_figures_are_shown(client: openai.OpenAI, server: Server) -> None:
    assert {model.id for model in client.models.list()} == {"pocket", "whisper-1"}
    with pytest.raises(openai.NotFoundError, match="is not on this server"):
        client.chat.completions.create(model="gpt-4", messages=asked("Hello"))
    with server.client() as plain:
        figures = plain.get("/metrics").text
        assert plain.get("/version").json()["version"]
    values = dict(line.rsplit(" ", 1) for line in figures.splitlines() if not line.startswith("#"))
    accepted = float(values['vllm:spec_decode_num_accepted_tokens_total{model_name="pocket"}'])
    assert 0 < accepted <= float(values['vllm:spec_decode_num_draft_tokens_total{model_name="pocket"}'])
    by_position = [float(value) for name, value in values.items() if "per_pos_total" in name]
    assert sum(by_position) == accepted
