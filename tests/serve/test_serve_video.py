"""Videos in messages: the model sees the frames that describe-video shows it."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import pytest

from gemma_cli.core.messages import Drafting, Message, Text
from gemma_cli.media.video import read_video
from gemma_cli.serve.api.chat_request import Defaults, chat_request
from gemma_cli.serve.api.fields import ChatBody, validated
from tests.serve.server import Server, chat, text_of
from tests.vision.drawn_videos import draw_video
from training.data import scenes

pytest.importorskip("av")

QUESTION = "Describe this image."


def about(video: Path) -> dict[str, Any]:
    """The body of a question about a video."""
    url = f"data:video/mp4;base64,{base64.b64encode(video.read_bytes()).decode()}"
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    return chat("", temperature=0) | {"messages": [{"role": "user", "content": content}]}


def shots(count: int) -> list[scenes.Scene]:
    dice = random.Random(4)
    return [scenes.sample_scene(dice, 1) for _ in range(count)]


def test_the_frames_are_those_of_describe_video(tmp_path: Path) -> None:
    video = draw_video(tmp_path / "video.mp4", shots(3))
    request = chat_request(validated(ChatBody, about(video)), Defaults(Drafting()))
    expected = read_video(video)
    assert request.messages == (Message("user", (expected, Text(QUESTION))),)
    assert expected.seconds == pytest.approx((0, 1, 2))


def test_the_model_sees_them(server: Server, tmp_path: Path) -> None:
    (shot,) = shots(1)
    video = draw_video(tmp_path / "video.mp4", [shot])
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=about(video)).json()
    assert text_of(answer) == shot.caption
