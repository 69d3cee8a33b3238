"""A model in another process: what travels, whose sockets are asked, and a server that goes away."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.engine import EngineInfo, EngineSpec
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.events import Delta, Done, Event, Progress, Round, Timings, ToolCalled, Turn, Usage, collect
from gemma_cli.core.messages import (
    Audio,
    Drafting,
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
from gemma_cli.engines.warm import place, wire
from gemma_cli.engines.warm.engine import AT_ONCE, WarmEngine, find

INFO = EngineInfo("pocket", "pocket-assistant", "cpu", "float32", 2048, frozenset({"image", "audio"}), exact=True)
SAID = (Delta("answer", "one "), Round(4, 2), Delta("answer", "two "), Delta("answer", "three"))
DONE = Done("stop", Usage(3, 5, 0), Timings(None, 0.25, 1.5))

numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.booleans(), st.none())
values = st.recursive(
    st.one_of(numbers, st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.one_of(st.just("$"), st.text()), inner)),
    max_leaves=4,
)
objects = st.dictionaries(st.one_of(st.just("$"), st.text()), values)
texts = st.builds(Text, st.text())
calls = st.builds(ToolCall, st.text(), objects)
messages = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    st.lists(texts, max_size=2).map(tuple),
    st.text(),
    st.lists(calls, max_size=2).map(tuple),
    st.lists(st.builds(ToolResponse, st.text(), values), max_size=1).map(tuple),
)
requests = st.builds(
    Request,
    messages=st.lists(messages, max_size=2).map(tuple),
    sampling=st.builds(Sampling, st.floats(0, 100), st.integers(0, 300), st.floats(0, 1), st.integers(0, 2**32 - 1)),
    tools=st.lists(objects, max_size=2).map(tuple),
    schema=st.one_of(st.none(), st.text()),
    raw=st.one_of(st.none(), st.text()),
)


class Pipe:
    """Both ends of a connection that nobody reads meanwhile."""

    def __init__(self) -> None:
        self.content = b""

    def sendall(self, data: bytes, /) -> None:
        self.content += data

    def recv(self, size: int, /) -> bytes:
        size = min(size, 7)  # as a socket gives it: in parts
        part, self.content = self.content[:size], self.content[size:]
        return part


def read_all(pipe: Pipe) -> None:
    while True:
        wire.read(pipe)


def through(value: Any) -> Any:
    pipe = Pipe()
    wire.write(pipe, value)
    arrived = wire.read(pipe)
    assert pipe.content == b""
    return arrived


@settings(max_examples=25)
@given(requests)
def test_a_request_arrives_as_it_was(request: Request) -> None:
    arrived = through({"ask": request, "number": 1})
    assert arrived == {"ask": request, "number": 1}
    assert repr(arrived["ask"]) == repr(request)  # which tells lists and tuples, 1 and 1.0 and True apart


def test_media_arrive_to_the_last_bit() -> None:
    noise = np.random.default_rng(0)
    picture = Image("d1", "a.png", noise.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    sound = Audio("d2", "b.wav", noise.standard_normal(1001, dtype=np.float32))
    video = Video((picture, replace(picture, digest="d3")), (0.0, 1.5), "c.mp4")
    arrived: Request = through(Request(ask(picture, sound, video, "What is it?")))
    assert arrived == Request(ask(picture, sound, video, "What is it?"))
    image, audio, video, _ = arrived.messages[0].parts
    assert isinstance(image, Image)
    assert isinstance(audio, Audio)
    assert isinstance(video, Video)
    for got, sent in ((image.pixels, picture.pixels), (audio.samples, sound.samples)):
        assert (got.dtype, got.flags.writeable) == (sent.dtype, True)
        np.testing.assert_array_equal(got, sent)
    np.testing.assert_array_equal(video.frames[1].pixels, picture.pixels)
    assert (image.name, audio.name, video.name, video.seconds) == ("a.png", "b.wav", "c.mp4", (0.0, 1.5))


def test_events_and_what_runs_arrive_as_they_were() -> None:
    events = [*SAID, Progress(DONE.usage, DONE.timings), ToolCalled(ToolCall("add", {"a": [1, 2.0, None]})), DONE]
    assert through({"number": 3, "events": events}) == {"number": 3, "events": events}
    assert through(INFO) == INFO


@settings(max_examples=25)
@given(st.binary(max_size=60))
def test_what_is_no_frame_ends_the_connection(content: bytes) -> None:
    pipe = Pipe()
    pipe.content = content
    with pytest.raises(wire.Broken):
        read_all(pipe)


class Here:
    """The model loaded in this process: it says the same."""

    info = INFO

    def __init__(self, said: tuple[Event, ...] = (*SAID, DONE)) -> None:
        self.said, self.asked = said, list[Request]()

    def stream(self, request: Request) -> Iterator[Event]:
        self.asked.append(request)
        yield from self.said


Answer = Callable[[socket.socket], None]


def served(answer: Answer, here: Here) -> WarmEngine:
    """A command's engine whose server reads each request and does `answer`, once."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            wire.read(theirs)
            answer(theirs)

    Thread(target=serve, daemon=True).start()
    return WarmEngine(Path("/nowhere.sock"), {}, INFO, ours, lambda why: here)  # type: ignore[arg-type, return-value]


def asked(engine: WarmEngine) -> Turn:
    return collect(engine.stream(Request(ask("Count."))))


@pytest.mark.parametrize("given_before", range(len(SAID) + 1))
def test_a_server_that_dies_loses_and_doubles_nothing(given_before: int) -> None:
    here = Here()

    def answer(theirs: socket.socket) -> None:
        for event in SAID[:given_before]:
            wire.write(theirs, {"number": 0, "events": [event]})

    turn = asked(served(answer, here))
    assert (turn.text, turn.finish_reason, len(here.asked)) == ("one two three", "stop", 1)
    assert turn.speculation.rounds == [Round(4, 2)]


def test_a_model_that_goes_on_otherwise_is_an_error() -> None:
    def answer(theirs: socket.socket) -> None:
        wire.write(theirs, {"number": 0, "events": [SAID[0]]})

    with pytest.raises(GemmaError, match="differs from the part already shown"):
        asked(served(answer, Here((Delta("answer", "two"), DONE))))


def test_an_error_of_the_engine_is_itself_and_a_full_server_is_none() -> None:
    def refuse(theirs: socket.socket) -> None:
        wire.write(theirs, {"number": 0, "error": "InputError", "message": "the prompt is too long"})

    with pytest.raises(InputError, match="the prompt is too long"):
        asked(served(refuse, Here()))

    here = Here()

    def full(theirs: socket.socket) -> None:
        wire.write(theirs, {"number": 0, "error": "busy", "message": "64 requests are waiting"})

    assert asked(served(full, here)).text == "one two three"
    assert len(here.asked) == 1


def test_of_many_requests_those_that_are_left_are_answered_here() -> None:
    here = Here()

    def answer(theirs: socket.socket) -> None:
        for _ in range(AT_ONCE - 1):
            wire.read(theirs)
        wire.write(theirs, {"number": 1, "events": [SAID[0]]})
        wire.write(theirs, {"number": 0, "events": [*SAID, DONE]})

    turns: dict[int, list[Event]] = {}
    for index, event in served(answer, here).stream_many([Request(ask(str(n))) for n in range(20)]):
        assert not isinstance(event, InputError)
        turns.setdefault(index, []).append(event)
    assert sorted(turns) == list(range(20))
    assert {collect(events).text for events in turns.values()} == {"one two three"}
    assert sorted(int(request.messages[0].text) for request in here.asked) == list(range(1, 20))


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as found:
        monkeypatch.setenv("XDG_RUNTIME_DIR", found)
        yield Path(found)


def test_the_folder_of_sockets_is_this_users_alone(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.made() == runtime / "gemma"
    assert (runtime / "gemma").stat().st_mode & 0o777 == 0o700
    (runtime / "gemma").chmod(0o750)
    assert place.folder() is None
    assert place.sockets() == []
    (runtime / "gemma").rmdir()
    (runtime / "elsewhere").mkdir(mode=0o700)
    (runtime / "gemma").symlink_to(runtime / "elsewhere")
    assert place.made() is None
    runtime.chmod(0o755)  # not a folder to trust: the one for temporary files is asked
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    assert place.made() == runtime / f"gemma-{os.getuid()}"


def test_no_folder_for_temporary_files_is_no_folder_of_sockets(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk, where Python finds no folder to write to and says so with an error."""

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    runtime.chmod(0o755)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert place.folder() is None
    assert place.made() is None
    assert place.sockets() == []


def test_what_a_server_must_hold(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMMA_MODEL", raising=False)
    spec = EngineSpec("pocket", quantize="int8")
    found = place.asked_for(spec)
    assert found
    assert place.asked_for(spec) == found
    others = [
        replace(spec, quantize=None),
        replace(spec, device="cpu"),
        replace(spec, dtype="float32"),
        replace(spec, assistant="off"),
    ]
    for other in others:
        asked_for = place.asked_for(other)
        assert asked_for
        assert asked_for[0] != found[0]
    monkeypatch.setenv("GEMMA_KERNELS", "off")
    asked_for = place.asked_for(spec)
    assert asked_for
    assert asked_for[0] != found[0]
    assert place.asked_for(EngineSpec("synthetic:e2b")) is None
    assert place.asked_for(EngineSpec(url="http://127.0.0.1:1")) is None
    assert place.asked_for(EngineSpec("no-such-model")) is None


def test_a_socket_that_nobody_listens_at_is_passed_over(runtime: Path) -> None:
    folder = place.made()
    assert folder
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "1.sock"))
    (folder / "2.sock").write_text("not a socket")
    assert len(place.sockets()) == 2
    assert find(EngineSpec("pocket"), lambda why: Here()) is None  # type: ignore[arg-type, return-value]


def test_drafting_is_part_of_a_request() -> None:
    assert through(Request((), drafting=Drafting(2, adaptive=True))).drafting == Drafting(2, adaptive=True)
