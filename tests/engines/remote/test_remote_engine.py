"""A server behind the engine seam: each dialect's requests and replies, its faults, and restarts in the middle."""

from __future__ import annotations

import hashlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.engine import Engine, EngineSpec, stream_many
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.core.events import Delta, Done, Round, Turn, collect
from gemma_cli.core.messages import (
    GREEDY,
    Audio,
    Image,
    Message,
    Request,
    Sampling,
    Text,
    ToolCall,
    ToolResponse,
    Video,
    ask,
)
from gemma_cli.engines import foretell, model_name, open_engine
from gemma_cli.engines.remote.address import parse_address
from gemma_cli.engines.remote.replies import ReplyReader
from gemma_cli.engines.remote.schema import follows
from tests.engines.remote.dialects import OWNERS, DialectServer, Fault, serving

HELLO = Request(ask("Grüße an alle, 你好 and 👋🏽 to you."))
SAID = "Grüße an alle, 你好 and 👋🏽 to you."
RNG = np.random.default_rng(1)
PICTURE = Image("p", "p.png", RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8))
SOUND = Audio("s", "s.wav", RNG.uniform(-1, 1, 1600).astype(np.float32))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMMA_ENGINE", "GEMMA_ENGINE_KEY", "GEMMA_ENGINE_KEY_FILE", "GEMMA_ENGINE_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[DialectServer]:
    with serving() as running:
        yield running


def opened(server: DialectServer, **spec: Any) -> Engine:
    return open_engine(EngineSpec(url=server.url, **spec))


def reply(engine: Engine, request: Request = HELLO) -> Turn:
    return collect(engine.stream(request))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


@pytest.mark.parametrize("dialect", OWNERS)
def test_every_dialect_gives_text_thoughts_and_figures(dialect: str) -> None:
    with serving(dialect) as server:
        server.thought = "Let me think."
        engine = opened(server)
        turn = reply(engine)
        assert (turn.text, turn.thinking, turn.finish_reason) == (SAID, "", "stop")
        assert (turn.usage.prompt_tokens, turn.usage.completion_tokens) == (7, len(SAID.split()))
        assert turn.timings.ttft_s is not None
        thoughtful = reply(engine, replace(HELLO, thinking=True))
        assert (thoughtful.text, thoughtful.thinking) == (SAID, "Let me think.")
        assert engine.info.exact is (True if dialect == "gemma" else None)
        assert ("may give different texts" in (engine.info.notice or "")) is (dialect != "gemma")


def test_the_figures_of_drafting_come_where_a_server_gives_them_and_nowhere_else(server: DialectServer) -> None:
    assert reply(opened(server)).speculation.acceptance_rate is None
    with serving("llama") as llama:
        speculation = reply(opened(llama)).speculation
        assert (speculation.drafted, speculation.accepted) == (16, 4)
        assert speculation.acceptance_by_position == [1.0, 0.0, 0.0, 0.0]


def test_what_is_sent_is_what_was_asked(server: DialectServer) -> None:
    engine = opened(server)
    reply(
        engine,
        replace(
            HELLO,
            sampling=Sampling(temperature=0.7, top_k=40, top_p=0.9, min_p=0.1, seed=123, max_tokens=55),
            image_budget=140,
            thinking=True,
        ),
    )
    headers, sent = server.requests[-1]
    expected = {"model": "pocket", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 55}
    expected |= {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": 123}
    expected |= {"chat_template_kwargs": {"enable_thinking": True}, "mm_processor_kwargs": {"max_soft_tokens": 140}}
    assert {key: value for key, value in sent.items() if key != "messages"} == expected
    assert "Authorization" not in headers
    reply(engine, replace(HELLO, sampling=GREEDY))
    assert not {"top_p", "top_k"} & server.requests[-1][1].keys()
    reply(engine, replace(HELLO, sampling=Sampling(top_k=0)))
    assert server.requests[-1][1]["top_k"] == -1


def test_no_more_tokens_are_asked_for_than_the_context_has(server: DialectServer) -> None:
    engine = opened(server)
    for most in (2047, 2048, 4096, 1 << 18):
        reply(engine, replace(HELLO, sampling=replace(GREEDY, max_tokens=most)))
        assert server.requests[-1][1]["max_tokens"] == min(most, engine.info.context)


def test_pictures_and_sounds_arrive_bit_for_bit_and_in_order(server: DialectServer) -> None:
    parts = (Text("Look "), Text("here:"), PICTURE, Text("and listen"), SOUND)
    picture, sound = digest(PICTURE.pixels.tobytes()), digest(SOUND.samples.tobytes())
    turn = reply(opened(server), Request((Message("user", parts),)))
    assert turn.text == f"Look here: image-{picture} and listen audio-{sound}"
    video = Video((PICTURE, PICTURE), (0.0, 65.0), "v.mp4")
    turn = reply(opened(server), Request((Message("user", (video,)),)))
    assert turn.text == f"00:00 image-{picture} 01:05 image-{picture}"


def test_calls_and_responses_go_and_come_with_their_ids(server: DialectServer) -> None:
    server.calls = [{"name": "add", "arguments": {"a": 1, "b": [2, {"c": "ü"}]}}, {"name": "now", "arguments": {}}]
    tools = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
    engine = opened(server)
    turn = reply(engine, replace(HELLO, tools=tools))
    assert turn.tool_calls == (ToolCall("add", {"a": 1, "b": [2, {"c": "ü"}]}), ToolCall("now", {}))
    assert turn.finish_reason == "tool_calls"
    messages = (
        *HELLO.messages,
        Message("assistant", tool_calls=turn.tool_calls),
        Message("tool", tool_responses=(ToolResponse("now", "noon"), ToolResponse("add", {"sum": 3}))),
    )
    reply(engine, Request(messages, tools=tools))
    sent = server.requests[-1][1]["messages"]
    ids = [call["id"] for call in sent[1]["tool_calls"]]
    assert [(m["role"], m["tool_call_id"], m["content"]) for m in sent[2:]] == [
        ("tool", ids[1], "noon"),
        ("tool", ids[0], '{"sum": 3}'),
    ]
    server.calls = [{"name": "", "arguments": {}}, {"name": "add", "arguments": [1]}]
    assert len(reply(engine, replace(HELLO, tools=tools)).unreadable_calls) == 2


@pytest.mark.parametrize("thinking", [False, True])
def test_what_llama_server_cannot_read_is_read_here(thinking: bool) -> None:
    """Of a template it does not know it gives all as a thought, markers included."""
    tools = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
    with serving("llama", say=lambda body: '<|tool_call>call:add{a:1,b:<|"|>x<|"|>}<tool_call|>') as server:
        turn = reply(opened(server), replace(HELLO, tools=tools, thinking=thinking))
        assert (turn.text, turn.thinking, turn.tool_calls) == ("", "", (ToolCall("add", {"a": 1, "b": "x"}),))
        assert turn.finish_reason == "tool_calls"
        assert "reasoning_format" not in server.requests[-1][1]


def test_a_reply_held_to_a_schema_is_one_line_and_checked() -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    with serving(say=lambda body: '{\n  "a":\t7\n}\n') as server:
        turn = reply(opened(server), replace(HELLO, schema=schema))
        assert turn.text == '{ "a":\t7 }'
        assert server.requests[-1][1]["response_format"]["json_schema"]["schema"]["required"] == ["a"]
        server.say = lambda body: "I would rather talk."
        with pytest.raises(GemmaError, match="does not match the JSON schema"):
            reply(opened(server), replace(HELLO, schema=schema))
    assert follows('{"a": 1}', schema)
    assert not follows('{"a": 1', schema)
    assert not follows('{"a": "x"}', schema)


@pytest.mark.parametrize(
    ("dialect", "change", "named"),
    [
        ("llama", {"messages": ask("Listen:", SOUND)}, "audio"),
        ("ollama", {"sampling": Sampling(top_k=3)}, "--top-k"),
        ("sglang", {"image_budget": 70}, "--detail"),
        ("ollama", {"sampling": Sampling(min_p=0.1)}, "--min-p"),
        ("vllm", {"thinking_budget": 5}, "--thinking-budget"),
        ("vllm", {"raw": "<bos>Once"}, "raw prompt"),
    ],
)
def test_what_a_server_cannot_do_is_refused_before_anything_is_sent(
    dialect: str, change: dict[str, Any], named: str
) -> None:
    with serving(dialect) as server:
        engine = opened(server)
        with pytest.raises(InputError, match=named):
            reply(engine, replace(HELLO, **change))
        assert not server.requests


@pytest.mark.parametrize(
    "fault",
    [
        Fault("eof"),
        Fault("eof", after=0),
        Fault("cut", after=2),
        Fault("reset"),
        Fault("garbage"),
        Fault("error", error={"message": "worker died", "code": 500}),
        Fault("error", error="worker died"),
        Fault("status", 500),
        Fault("status", 502),
        Fault("status", 503, {"Retry-After": "0"}),
        Fault("status", 429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Fault("stall", after=1),
        Fault("bytes"),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status or ''}",
)
def test_a_reply_is_whole_and_shown_once_through_a_fault(
    server: DialectServer, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMMA_ENGINE_TIMEOUT", "0.4" if fault.kind == "stall" else "10")
    engine = opened(server)
    server.faults.append(fault)
    turn = reply(engine)
    assert (turn.text, turn.finish_reason) == (SAID, "stop")
    assert len(server.requests) == (1 if fault.kind == "bytes" else 2)


def test_a_second_reply_that_differs_is_not_mixed_with_the_first(server: DialectServer) -> None:
    engine = opened(server)
    replies = iter(["one two three four", "one two other four"])
    server.say = lambda body: next(replies)
    server.faults.append(Fault("eof", after=3))
    with pytest.raises(GemmaError, match="differs"):
        reply(engine)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Fault("status", 400, body=b'{"error": {"message": "too long\\n by 7"}}'), InputError, "too long by 7"),
        (Fault("status", 413, body=b"<html>"), InputError, "413"),
        (Fault("status", 401), UsageError, "GEMMA_ENGINE_KEY"),
        (Fault("status", 404, body=b'{"detail": "no model"}'), UsageError, "no model"),
        (Fault("html"), GemmaError, "text/html"),
        (Fault("error", error={"message": "bad", "code": 400}), InputError, "bad"),
        (Fault("status", 429, {"Retry-After": "3600"}), GemmaError, "busy"),
    ],
    ids=lambda value: f"{value.kind}{value.status or ''}" if isinstance(value, Fault) else None,
)
def test_what_will_not_pass_is_an_error_at_once(
    server: DialectServer, fault: Fault, kind: type[Exception], said: str
) -> None:
    engine = opened(server)
    server.faults.append(fault)
    with pytest.raises(kind, match=said) as raised:
        reply(engine)
    assert "\n" not in str(raised.value)
    assert len(server.requests) == 1


def test_a_request_that_breaks_the_server_does_not_go_on_for_ever_nor_stop_the_others(server: DialectServer) -> None:
    def say(body: Any) -> str:
        text = body["messages"][-1]["content"]
        if text == "poison":
            raise ConnectionError
        return str(text)

    server.say = say
    engine = opened(server, concurrency=2)
    requests = [Request(ask(text)) for text in ("a", "poison", "b", "c")]
    told = list(stream_many(engine, requests))
    assert [index for index, event in told if isinstance(event, InputError)] == [1]
    assert sorted(index for index, event in told if isinstance(event, Done)) == [0, 2, 3]


def test_length_is_told_as_length(server: DialectServer) -> None:
    turn = reply(opened(server), replace(HELLO, sampling=replace(GREEDY, max_tokens=2)))
    assert (turn.text, turn.finish_reason) == ("Grüße an", "length")


def test_many_requests_through_faults_and_a_restart_lose_nothing_and_double_nothing(
    server: DialectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMMA_ENGINE_TIMEOUT", "20")
    engine, seeds = opened(server, concurrency=16), random.Random(5)
    server.pause = 0.001
    kinds = [Fault("eof"), Fault("cut", after=2), Fault("status", 503), Fault("reset"), Fault("status", 429)]
    server.faults.extend(seeds.choice(kinds) if seeds.random() < 0.1 else Fault("none") for _ in range(200))

    def restart() -> None:
        for _ in range(2):
            before = len(server.requests)
            while len(server.requests) < before + 60:
                time.sleep(0.005)
            server.stop()
            time.sleep(0.2)
            server.start()

    restarting = threading.Thread(target=restart, daemon=True)
    restarting.start()
    taken = 0

    def requests() -> Iterator[Request]:
        nonlocal taken
        for number in range(250):
            taken += 1
            yield Request(ask(f"This is request number {number}, and no other."))

    events: dict[int, list[Any]] = {}
    done = 0
    for index, event in stream_many(engine, requests()):
        events.setdefault(index, []).append(event)
        done += isinstance(event, Done)
        assert taken <= done + 16 + 1
    restarting.join()
    assert sorted(events) == list(range(250))
    for index, each in events.items():
        assert sum(isinstance(event, Done) for event in each) == 1
        assert collect(each).text == f"This is request number {index}, and no other."
    assert 8 <= server.most <= 16


def test_a_closed_stream_ends_its_requests_and_leaves_the_engine_fit(server: DialectServer) -> None:
    server.pause = 0.2
    engine = opened(server, concurrency=4)
    many = stream_many(engine, [HELLO] * 50)
    began = time.monotonic()
    next(many)
    server.pause = 5.0
    many.close()
    alone = engine.stream(HELLO)
    server.pause = 0.0
    next(alone)
    alone.close()
    assert time.monotonic() - began < 4
    assert reply(engine).text == SAID
    assert len(server.requests) < 12


def test_a_server_that_stays_away_is_given_up(server: DialectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_ENGINE_TIMEOUT", "0.6")
    engine = opened(server)
    server.stop()
    try:
        with pytest.raises(GemmaError, match=r"gave up after 0\.6 s"):
            reply(engine)
        with pytest.raises(GemmaError, match="no server answers"):
            opened(server)
    finally:
        server.start()


def test_a_server_that_is_still_loading_is_waited_for(server: DialectServer) -> None:
    server.model_faults.extend([Fault("status", 503)] * 2)
    assert reply(opened(server)).text == SAID


def test_the_key_goes_to_its_server_and_nowhere_else(
    server: DialectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.key = "s3cret-key"
    with pytest.raises(UsageError, match="GEMMA_ENGINE_KEY"):
        opened(server)
    (tmp_path / "key").write_text("s3cret-key\n")
    monkeypatch.setenv("GEMMA_ENGINE_KEY_FILE", str(tmp_path / "key"))
    engine = opened(server)
    reply(engine)
    assert server.requests[-1][0]["Authorization"] == "Bearer s3cret-key"
    with serving() as other:
        for status in (301, 302, 303, 307, 308):
            server.faults.append(Fault("status", status, {"Location": f"{other.url}/v1/chat/completions"}))
            with pytest.raises(UsageError, match="if you trust the new address") as raised:
                reply(engine)
            assert "s3cret" not in str(raised.value)
        server.model_faults.append(Fault("status", 307, {"Location": f"{other.url}/v1/models"}))
        with pytest.raises(UsageError, match="if you trust the new address"):
            opened(server)
        assert not other.requests


@pytest.mark.parametrize("key", ["two words", "lïne", "a\nb", "\x1b[2J"])
def test_a_key_that_is_none_is_refused_unshown(
    server: DialectServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMMA_ENGINE_KEY", key)
    with pytest.raises(UsageError, match="not a valid key") as raised:
        opened(server)
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a", "http://", "http:///v1", "http://a:99999", "http://a b", "http://[::1", "127.0.0.1:8000", "unix:"),
        *("http://a/v1?key=1", "http://a\x1b[2J", "http://a:0", "https:a", "http://\ud800"),
    ],
)
def test_what_is_not_an_address_is_one_line(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        model_name(EngineSpec(url=url))
    assert str(raised.value).isprintable()


def test_a_password_in_an_address_is_refused_unshown() -> None:
    with pytest.raises(UsageError) as raised:
        parse_address("https://me:hunter2@example.org/v1")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_an_address_may_end_where_people_end_it(path: str) -> None:
    address = parse_address(f"http://example.org:80{path}")
    assert (address.api, address.root, address.shown) == (
        "http://example.org:80/v1",
        "http://example.org:80",
        "http://example.org:80",
    )


def test_a_model_is_chosen_among_those_of_the_server(server: DialectServer) -> None:
    assert opened(server, model="pocket").info.model == "pocket"
    with pytest.raises(UsageError, match=r"no model 'e4b'.*pocket"):
        opened(server, model="e4b")
    assert foretell(EngineSpec(url=server.url)) == f"pocket on vLLM 0.32.0 at {server.url}"
    assert opened(server).info.context == 2048


def test_options_of_this_machine_are_told_to_have_no_effect(server: DialectServer) -> None:
    notice = opened(server, device="cuda", quantize="int8").info.notice or ""
    assert "--device" in notice
    assert "--quantize" in notice
    assert "--dtype" not in notice


def test_neither_torch_nor_transformers_is_imported(server: DialectServer) -> None:
    code = (
        "import sys\nfrom gemma_cli.__main__ import main\nsys.argv[1:] = ['chat', 'Hello there', '--quiet']\n"
        "try:\n    main()\nfinally:\n    print({'torch', 'transformers'} & set(sys.modules), file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"GEMMA_ENGINE": server.url, "PATH": "", "HOME": "/nonexistent"},
    )
    assert (told.stdout, told.stderr) == ("Hello there\n", "set()\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "choices",
                        "delta",
                        "content",
                        "reasoning",
                        "tool_calls",
                        "function",
                        "name",
                        "arguments",
                        "index",
                    ),
                    *("usage", "timings", "draft_n", "draft_n_accepted", "finish_reason", "completion_tokens_details"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.sampled_from(["choices", "usage", "timings"]), JSON, max_size=3), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_chunk_is_read_without_an_error_of_ours(chunks: list[dict[str, Any]]) -> None:
    reader = ReplyReader(HELLO)
    events = [event for chunk in chunks for event in reader.read(chunk)] + list(reader.end())
    assert isinstance(events[-1], Done)
    assert all(event.text for event in events if isinstance(event, Delta))
    assert all(0 <= event.accepted <= event.drafted for event in events if isinstance(event, Round))


def test_a_unix_socket_is_an_address_too(server: DialectServer, tmp_path: Path) -> None:
    """Through a socket that passes bytes on to the server."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        threading.Thread(target=_pass_on, args=(listener, server.url), daemon=True).start()
        engine = open_engine(EngineSpec(url=f"unix:{path}"))
        assert reply(engine).text == SAID
    assert str(path) in engine.info.device


def _pass_on(listener: socket.socket, url: str) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    while part := source.recv(1 << 16):
        target.sendall(part)
