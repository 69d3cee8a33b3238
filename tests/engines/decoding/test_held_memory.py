"""What an engine holds between requests, and what it gives back: every cache, snapshot and feature is watched by weak
references, with the garbage collector off, and with the rounds of a GPU attached on the CPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gemma_cli.core.engine import EngineSpec, stream_many
from gemma_cli.core.errors import InputError, OutOfMemory
from gemma_cli.core.events import Round, collect
from gemma_cli.core.messages import Audio, Drafting, Image, Message, Request, Sampling, Text, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.model.cache import SNAPSHOTS, Cache, Snapshot
from tests.engines.helpers import tiny
from tests.engines.helpers.faults import OutOfMemoryAt
from tests.engines.helpers.kernels import WITHOUT, kernels_for

noise = np.random.default_rng(5)
PICTURE = Image("one", "one.png", noise.integers(0, 256, (60, 90, 3), dtype=np.uint8))
SOUND = Audio("voice", "voice.wav", noise.normal(0, 0.1, 20_000).astype(np.float32))
SHORT = Request(ask("Hello"), Sampling(seed=1, max_tokens=8), Drafting(2))
LONG = replace(SHORT, messages=ask("word " * 120))


@pytest.fixture(scope="module", params=["plain", "graphs"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    torch.set_num_threads(1)
    folder: Path = tiny.write_checkpoint(tmp_path_factory.mktemp("memory") / "tiny")
    with kernels_for(WITHOUT):
        opened = open_engine(EngineSpec(model=str(folder), device="cpu", dtype="float32"))
        assert isinstance(opened, LocalEngine)
        if request.param == "graphs":
            opened.rounds = RoundState(opened.target, opened.drafter, opened.generation.suppress)
        yield opened


class Watched:
    """Weak references to all caches and snapshots. before: what was alive when the newest of each was asked for."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen: dict[type, list[weakref.ref[Any]]] = {Cache: [], Snapshot: []}
        self.before: list[dict[type, int]] = []
        for kind in self.seen:
            self._watch(kind, patch)

    def _watch(self, kind: type, patch: pytest.MonkeyPatch) -> None:
        made = kind.__init__

        def noted(one: Any, *arguments: Any, **options: Any) -> None:
            self.seen[kind].append(weakref.ref(one))
            made(one, *arguments, **options)

        def asked(owner: Any, *arguments: Any) -> Any:
            self.before.append(self.alive())
            return snapshot(owner, *arguments) if kind is Snapshot else new_cache(owner, *arguments)

        patch.setattr(kind, "__init__", noted)
        if kind is Snapshot:
            snapshot = Cache.snapshot
            patch.setattr(Cache, "snapshot", asked)
        else:
            from gemma_cli.engines.local.model.target import Target

            new_cache = Target.new_cache
            patch.setattr(Target, "new_cache", asked)

    def alive(self) -> dict[type, int]:
        return {kind: sum(one() is not None for one in ones) for kind, ones in self.seen.items()}


@pytest.fixture
def watched(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    engine.live.forget()
    gc.collect()
    gc.disable()
    yield Watched(monkeypatch)
    gc.enable()


NOTHING = {Cache: 0, Snapshot: 0}


def test_what_is_forgotten_is_given_back(engine: LocalEngine, watched: Watched) -> None:
    for request in (SHORT, LONG):
        collect(engine.stream(request))
        assert watched.alive()[Cache] == 1
        engine.live.forget()
        assert watched.alive() == NOTHING


def test_nothing_of_the_old_cache_is_left_when_a_larger_one_is_made(engine: LocalEngine, watched: Watched) -> None:
    for request in (SHORT, LONG, SHORT, replace(LONG, messages=ask("other " * 240))):
        collect(engine.stream(request))
    made = [alive for alive in watched.before if alive[Snapshot] == 0]
    assert len(watched.seen[Cache]) == 3, "a shorter one goes into the memory of the longer one"
    assert [alive for alive in made if alive[Cache] == 0] == [NOTHING] * 3


def test_no_more_snapshots_are_alive_than_are_allowed(engine: LocalEngine, watched: Watched) -> None:
    messages = ask("word " * 100)
    for turn in range(5):
        request = replace(SHORT, messages=messages)
        answer = Message("assistant", (Text(collect(engine.stream(request)).text or "."),))
        messages = (*messages, answer, *ask(f"And {turn}? " + "word " * 40))
    taken = [alive[Snapshot] for alive in watched.before if alive[Cache]]
    assert len(taken) > 4
    assert max(taken) == SNAPSHOTS - 1, "as one more is taken"


@pytest.mark.parametrize("kind", range(3))
def test_out_of_memory_frees_all_that_can_be_had_again(engine: LocalEngine, watched: Watched, kind: int) -> None:
    """Wherever it is met: while the cache is made, in the tower, in prefill, in a round. The error that is raised holds
    on to nothing either."""
    request = replace(LONG, messages=ask(PICTURE, "word " * 60, SOUND), image_budget=70)
    whole = collect(engine.stream(request))
    for at in (1, 30, 200, 500):
        engine.towers.forget()
        refused = pytest.raises(OutOfMemory, match="has run out of memory: shorten the conversation")
        with refused as raised, OutOfMemoryAt(at, kind):
            collect(engine.stream(request))
        assert watched.alive() == NOTHING, (at, raised)
        assert not engine.towers._kept
        assert collect(engine.stream(request)).text == whole.text


def test_a_batch_that_finds_no_memory_is_given_back_too(engine: LocalEngine, watched: Watched) -> None:
    asked = [replace(SHORT, messages=ask(f"Hello {number}")) for number in range(6)]
    for at in (40, 900):
        with pytest.raises(OutOfMemory), OutOfMemoryAt(at):
            list(stream_many(engine, asked))
        assert watched.alive() == NOTHING, at
    list(stream_many(engine, asked))
    assert watched.alive() == NOTHING, "a batch leaves nothing behind"


def test_the_error_of_a_refused_request_holds_no_cache(engine: LocalEngine, watched: Watched) -> None:
    """Commands hold such errors until they have ended."""
    nothing = Audio("none", "nothing.wav", SOUND.samples[:10])
    asked = [replace(SHORT, messages=ask(f"Hello {number}")) for number in range(5)]
    refused: list[InputError] = []
    with closing(stream_many(engine, [*asked, replace(SHORT, messages=ask("Write down:", nothing))])) as answers:
        for _, event in answers:
            if isinstance(event, InputError):
                refused.append(event)
            elif isinstance(event, Round):
                break
    assert len(refused) == 1
    assert watched.alive() == NOTHING


@pytest.mark.parametrize("part", [PICTURE, SOUND], ids=["picture", "recording"])
def test_no_memory_is_never_taken_for_a_bad_medium(engine: LocalEngine, part: Image | Audio) -> None:
    """The libraries that prepare media answer it with errors of their own."""
    request = replace(SHORT, messages=ask("What?", part), image_budget=70)
    for at in range(1, 21):
        engine.towers = MediaEncoders(
            engine.towers.folder, engine.towers.config, engine.target.device, engine.target.dtype
        )
        with pytest.raises(OutOfMemory), OutOfMemoryAt(at, at):
            list(engine.stream(request) if at % 2 else stream_many(engine, [request]))


def test_graphs_belong_to_one_cache_even_where_the_next_has_its_address(engine: LocalEngine) -> None:
    device = RoundState(engine.target, engine.drafter)
    same = 0
    cache: Cache | None = None
    before = 0
    for _ in range(20):
        cache = None
        cache = engine.target.new_cache(64)
        device.attach(cache, 8, Sampling())
        assert not device.recorder._graphs
        device.recorder._graphs["draft"] = object()  # type: ignore[assignment]
        device.attach(cache, 8, Sampling())
        assert device.recorder._graphs
        same += id(cache) == before
        before = id(cache)
    assert same, "no address came twice: nothing was shown"
