"""What a server refuses, and that nothing a client does harms it."""

from __future__ import annotations

import json
import random
import socket
import time
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest

from gemma_cli.cli import run
from tests.serve.hostile import hostile_body
from tests.serve.server import Server, chat, events, served, text_of

LONG: dict[str, Any] = {"prompt": "0 1 " * 11, "temperature": 0, "draft_tokens": 0, "stream": True, "max_tokens": 150}
"""Goes on as long as it may."""

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}

HELLO = chat("Hello", temperature=0)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 17}, "n"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [ADD]}, "tool_choice"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "film"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "tool", "content": "1", "tool_call_id": "x"}]}, "messages.0.tool_call_id"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 7}}}}, "response_format"),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, "reasoning_effort"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_named(server: Server, more: dict[str, Any], param: str) -> None:
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=HELLO | more)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert param.split(".")[0] in error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize("more", [{"n": 1, "logprobs": False, "logit_bias": {}, "user": "me", "top_p": None}])
def test_a_field_that_asks_for_nothing_is_let_in(server: Server, more: dict[str, Any]) -> None:
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=HELLO | more).status_code == 200


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/x.png", "file:///etc/passwd", "data:image/png,x", "data:;base64,%%", "data:;base64,eHh4"],
)
def test_images_and_videos_come_in_the_body_alone(server: Server, url: str) -> None:
    for kind in ("image_url", "video_url"):
        content = [{"type": kind, kind: {"url": url}}]
        with server.client() as client:
            answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
        assert answer.status_code == 400
        assert "messages.0.content.0" in answer.json()["error"]["message"]
        assert "\n" not in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:80"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "["}, 403),
        ({"host": ""}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://pages.example"}, 403),
        ({"origin": "https://pages.example:444"}, 403),
        ({"origin": "https://pages.example", "host": "evil.example"}, 403),
        ({"origin": "https://pages.example", "sec-fetch-site": "cross-site"}, 200),
        ({"host": "localhost:9"}, 200),
        ({"host": "[::1]"}, 200),
    ],
)
def test_web_pages_are_refused(server: Server, headers: dict[str, str], status: int) -> None:
    with server.client() as client:
        answer = client.get("/v1/models", headers=headers)
        asked = client.options("/v1/models", headers={**headers, "access-control-request-method": "POST"})
    assert answer.status_code == status
    permitted = status == 200 and "origin" in headers
    assert asked.status_code == (204 if permitted else 403 if status == 403 else 405)
    for one in (answer, asked):
        assert one.headers.get("access-control-allow-origin") == (headers["origin"] if permitted else None)
    assert ("access-control-allow-methods" in asked.headers) == permitted


@pytest.mark.parametrize("origin", ["*", "null", "pages.example", "https://*.example", "https://a.example/path"])
def test_an_origin_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], origin: str) -> None:
    assert run(["serve", "--allowed-origin", origin]) == 2
    assert capsys.readouterr().err.startswith(f"gemma: --allowed-origin {origin}: not the origin of a web page")


def test_hostile_bodies_get_an_error_and_nothing_else(server: Server) -> None:
    dice = random.Random(14)
    with server.client() as client:
        for _ in range(100):
            path, content = hostile_body(dice)
            answer = client.post(path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400, 404, 413), (answer.status_code, content[:300])
            assert answer.text.startswith(("data: ", "event: ")) or answer.json()
        assert text_of(client.post("/v1/chat/completions", json=HELLO).json())
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"language": "Klingon"}, 400), ({"temperature": "1"}, 400), ({"stream": "true", "response_format": "srt"}, 400)],
)
def test_forms_are_checked(server: Server, fields: dict[str, str], status: int) -> None:
    with server.client() as client:
        sent = client.post("/v1/audio/transcriptions", data=fields, files={"file": ("x.wav", b"RIFF....nonsense")})
        assert sent.status_code == status
        broken = client.post("/v1/audio/transcriptions", files={"file": ("x.wav", b"RIFF....nonsense")})
        assert (broken.status_code, broken.json()["error"]["param"]) == (400, "file")
        assert client.post("/v1/audio/transcriptions", json={}).status_code == 415


def test_who_goes_away_frees_the_place_at_once(server: Server) -> None:
    for body in (LONG | {"max_tokens": 3000}, LONG | {"max_tokens": 3000, "stream": False}):
        with server.client() as client:
            sent = client.build_request("POST", "/v1/completions", json=body)
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(f"POST {sent.url.path} HTTP/1.1\r\nHost: localhost\r\n".encode())
            raw.sendall(f"Content-Length: {len(sent.content)}\r\n\r\n".encode() + sent.content)
            assert server.reaches(running=1)
        assert server.reaches(5.0, running=0, waiting=0)
    end = time.monotonic() + 5
    while len(gone := [line for line in server.lines() if line.get("gone")]) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert [line.get("error") for line in gone] == [None, None]


def test_a_line_of_limited_length_keys_and_a_graceful_end(tmp_path: Path, forks: Path | None) -> None:
    keys = tmp_path / "keys"
    keys.write_text("first\nsecret\n")
    options = ("--max-running", "1", "--max-queue", "1", "--max-body", "1", "--api-key-file", str(keys))
    with served(*options, forks=forks) as server:
        with server.client() as client:
            assert client.get("/health").status_code == 200
            assert {client.get(path).status_code for path in ("/v1/models", "/metrics", "/nowhere")} == {401}
            client.headers["authorization"] = "Bearer secre"
            assert client.get("/v1/models").status_code == 401
            client.headers["authorization"] = "Bearer secret"
            assert client.get("/v1/models").status_code == 200
            assert client.post("/v1/chat/completions", content=b" " * (1 << 21)).status_code == 413
            answers: list[httpx2.Response] = []

            def ask() -> None:
                answers.append(client.post("/v1/completions", json=LONG))

            threads = [Thread(target=ask), Thread(target=ask)]
            for number, thread in enumerate(threads):
                thread.start()
                assert server.reaches(running=1, waiting=number)
            refused = client.post("/v1/chat/completions", json=HELLO)
            assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
            assert server.end() == 0
            for thread in threads:
                thread.join()
        by_status = {answer.status_code: answer for answer in answers}
        assert sorted(by_status) == [200, 503]
        assert events(by_status[200].text)[-1]["choices"][0]["finish_reason"] == "length"
        assert [line["status"] for line in server.lines() if line["path"] == "/v1/chat/completions"] == [413, 429]


def test_a_unix_socket_is_for_this_user_alone(tmp_path: Path, forks: Path | None) -> None:
    path = tmp_path / "gemma.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with served("--socket", str(path), port=False, forks=forks) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
            assert client.get("/v1/models").status_code == 200
        assert server.end() == 0
    assert not path.exists()


def test_it_is_not_open_to_others_without_a_key(forks: Path | None) -> None:
    refused = pytest.raises(AssertionError, match="lets other machines use the server")
    with refused, served("--host", "0.0.0.0", forks=forks):
        pass


def test_lines_of_the_log_are_json(server: Server) -> None:
    before = len(server.lines())
    with server.client() as client:
        client.get("/%1b[31m")
    assert server.line_after(before)["status"] == 404
    assert "\x1b" not in server.log.read_text()
    assert json.loads(server.log.read_text().splitlines()[-1])["status"] == 404
