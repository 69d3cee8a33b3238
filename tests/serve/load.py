"""Mixed requests from several clients at once, some of which go away before they have their answer."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from tests.serve.server import Server, chat

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["n"]}
QUESTIONS = ("Hello", "Count from 1 to 10.", "Tell me a story.", "What is 12 + 30?", "Translate to German: the dog")


def mixed(count: int, seed: int) -> list[dict[str, Any]]:
    """Bodies of chat completions: greedy and sampled, streamed and not, with schemas, thoughts and draft lengths."""
    dice = random.Random(seed)
    bodies = []
    for _ in range(count):
        body = chat(dice.choice(QUESTIONS), max_tokens=dice.randint(4, 40)) | {"seed": dice.randrange(1000)}
        body["stream"] = dice.random() < 0.5
        kind = dice.randrange(6)
        if kind == 0:
            body["temperature"] = 0
        elif kind == 1:
            body["response_format"] = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
        elif kind == 2:
            body["chat_template_kwargs"] = {"enable_thinking": True}
        elif kind == 3:
            body["draft_tokens"] = dice.randint(0, 7)
        elif kind == 4:
            body |= {"min_p": 0.05, "top_k": 0}
        bodies.append(body)
    return bodies


def run(
    server: Server, bodies: list[dict[str, Any]], at_once: int, vanishing: float = 0.0, seed: int = 0
) -> dict[int, str | None]:
    """The text of each reply, by the index of its request; None where the client went away."""
    dice = random.Random(seed)
    patience = [dice.uniform(0.0, 0.3) if dice.random() < vanishing else None for _ in bodies]
    with server.client() as client, ThreadPoolExecutor(at_once) as pool:
        texts = pool.map(lambda one: _text(client, *one), zip(bodies, patience, strict=True))
        return dict(enumerate(texts))


def _text(client: httpx2.Client, body: dict[str, Any], patience: float | None) -> str | None:
    timeout = httpx2.Timeout(120.0, read=120.0 if patience is None else patience + 0.001)
    try:
        answer = client.post("/v1/chat/completions", json=body, timeout=timeout)
    except httpx2.TimeoutException:
        return None
    assert answer.status_code == 200, answer.text
    if not body["stream"]:
        message = answer.json()["choices"][0]["message"]
        return str((message.get("reasoning", ""), message["content"]))
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: {")]
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    thought = "".join(delta.get("reasoning", "") for delta in deltas)
    return str((thought, "".join(delta.get("content", "") for delta in deltas)))
