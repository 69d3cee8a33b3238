"""`gemma` on pictures and videos, in this process, with pocket loaded once."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gemma_cli.cli import run
from gemma_cli.common import opening
from gemma_cli.core.engine import Answered, Engine, EngineInfo, EngineSpec, stream_many
from gemma_cli.core.events import Done, Event
from gemma_cli.core.messages import Request
from gemma_cli.engines import open_engine
from tests.cli.helpers.command import Outcome
from training.data import scenes

Run = Callable[..., Outcome]


@dataclass
class Watched:
    """An engine that notes what it is asked. most: answers after which Ctrl-C is pressed."""

    engine: Engine
    opened: int = 0
    asked: list[Request] = field(default_factory=list)
    most: int = 10_000

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    def stream(self, request: Request) -> Generator[Event, None, None]:
        self.asked.append(request)
        yield from self.engine.stream(request)

    def stream_many(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        def noted() -> Iterable[Request]:
            for request in requests:
                self.asked.append(request)
                yield request

        for answered in stream_many(self.engine, noted()):
            yield answered
            self.most -= isinstance(answered[1], Done)
            if not self.most:
                raise KeyboardInterrupt


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))


@pytest.fixture
def engine(pocket: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    watched = Watched(pocket)

    def opened(spec: EngineSpec) -> Watched:
        watched.opened += 1
        return watched

    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(opening, "open_engine", opened)
    monkeypatch.setenv("GEMMA_MODEL", "pocket")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setattr(sys, "stdin", None)
    return watched


@pytest.fixture
def gemma(engine: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return command


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, str]:
    """Six drawn pictures below tmp_path/photos, and what pocket says of each."""
    rng = random.Random(5)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    said = {}
    for number in range(6):
        scene = scenes.sample_scene(rng, 1 + number % 2)
        path = folder / ("more" if number > 3 else ".") / f"{number}.png"
        scenes.draw(scene).save(path)
        said[str(path.relative_to(tmp_path))] = scene.caption
    return said
