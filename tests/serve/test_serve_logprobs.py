"""Log-probabilities as OpenAI's client reads them."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from gemma_cli.core.messages import Request, ask
from gemma_cli.engines.scripted import Reply, ScriptedEngine
from gemma_cli.serve.api.errors import ApiError
from gemma_cli.serve.app import Service
from tests.serve.server import LIMIT_S, Server

STORY: dict[str, Any] = {
    "model": "pocket",
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "seed": 5,
    "max_tokens": 24,
    "logprobs": True,
    "top_logprobs": 4,
}


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S)


def test_a_chat_has_them_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**STORY).choices[0]
    assert whole.logprobs
    tokens = whole.logprobs.content or []
    assert "".join(token.token for token in tokens) == whole.message.content
    assert b"".join(bytes(token.bytes or ()) for token in tokens) == (whole.message.content or "").encode()
    for token in tokens:
        best = [one.logprob for one in token.top_logprobs]
        assert len(best) == 4
        assert best == sorted(best, reverse=True)
        assert token.logprob <= best[0] <= 0.0
    for drafts in (0, 7):
        chunks = list(client.chat.completions.create(**STORY, stream=True, extra_body={"draft_tokens": drafts}))
        choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
        assert [token for one in choices if one.logprobs for token in one.logprobs.content or ()] == tokens
        for one in choices:
            if one.logprobs and one.logprobs.content and one.delta.content:
                assert one.delta.content.startswith(one.logprobs.content[0].token[:1])
    assert client.chat.completions.create(**STORY | {"logprobs": False, "top_logprobs": None}).choices[0] == (
        whole.model_copy(update={"logprobs": None})
    )


def test_a_raw_completion_has_them_in_the_older_form(client: openai.OpenAI) -> None:
    spelled = "<|turn>user\nTell me a story.<turn|>\n<|turn>model\n"
    asked: dict[str, Any] = {"model": "pocket", "prompt": spelled, "seed": 5, "max_tokens": 24, "logprobs": 4}
    raw = client.completions.create(**asked).choices[0]
    chat = client.chat.completions.create(**STORY).choices[0]
    assert raw.logprobs
    assert chat.logprobs
    tokens = chat.logprobs.content or []
    assert raw.logprobs.tokens == [token.token for token in tokens]
    assert raw.logprobs.token_logprobs == [token.logprob for token in tokens]
    for found, token in zip(raw.logprobs.top_logprobs or (), tokens, strict=True):
        assert found == {one.token: one.logprob for one in (token, *token.top_logprobs)}
    offsets = raw.logprobs.text_offset or []
    assert all(raw.text[start:].startswith(token.token) for start, token in zip(offsets, tokens, strict=True))
    streamed = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True) if chunk.choices]
    assert [start for one in streamed if one.logprobs for start in one.logprobs.text_offset or ()] == offsets


def test_tokens_after_a_stop_text_or_outside_the_answer_have_none(client: openai.OpenAI) -> None:
    counting = STORY | {"messages": [{"role": "user", "content": "Count from 1 to 10."}], "temperature": 0}
    stopped = client.chat.completions.create(**counting, stop=[", 4"]).choices[0]
    assert stopped.logprobs
    assert "".join(token.token for token in stopped.logprobs.content or ()) == stopped.message.content == "1, 2, 3"
    thinking: Any = {"chat_template_kwargs": {"enable_thinking": True}}
    adding = counting | {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 200}
    thoughtful = client.chat.completions.create(**adding, extra_body=thinking).choices[0]
    assert thoughtful.message.model_extra["reasoning"]  # type: ignore[index]
    assert thoughtful.logprobs
    assert "".join(token.token for token in thoughtful.logprobs.content or ()) == thoughtful.message.content


def test_an_engine_that_has_none_refuses_in_one_line() -> None:
    unused: Any = None
    engine = ScriptedEngine((Reply("Yes."),))
    service = Service(engine, unused, unused, unused, unused, ("scripted",), 0)
    with pytest.raises(ApiError) as refused:
        service.checked(Request(ask("?"), logprobs=2))
    assert (refused.value.status, refused.value.message) == (
        400,
        "logprobs: scripted provides no log-probabilities: leave out logprobs",
    )
    assert service.checked(Request(ask("?")))
