"""How much faster pictures are described in one call than in a call each, and together than one by one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from gemma_cli.core.engine import EngineSpec, stream_many
from gemma_cli.core.messages import GREEDY, Request, ask
from gemma_cli.engines import open_engine
from gemma_cli.media.pictures.image import read_image
from tests.soak.outcome import Outcome
from training.data import scenes

PROMISE = (
    "100 pictures take a third of the time in one call, and go faster together than one by one, with the same text"
)

COUNT = 100
CALLS = 10  # of a picture each, that are timed
ONE_CALL, TOGETHER = 3.0, 1.3
ROUNDS = 3


def trial(scale: float) -> Outcome:
    """Time `100 * scale` pictures in one call, ten calls of one picture, and both ways in one process, three times."""
    failures: list[str] = []
    count = max(20, round(COUNT * scale))
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), random.Random(0)
        paths = [folder / f"{number:03d}.png" for number in range(count)]
        for path in paths:
            scenes.draw(scenes.sample_scene(rng)).save(path)
        single = sum(_call(path) for path in paths[:CALLS]) / CALLS
        faster = single * count / _call(folder)
        together = _together(paths, failures)
    if faster < ONE_CALL:
        failures.append(f"one call is {faster:.1f} times as fast")
    if together < TOGETHER:
        failures.append(f"together is {together:.2f} times as fast")
    return Outcome(count, failures, f"One call {faster:.1f} times as fast, together {together:.2f} times.")


def _call(path: Path) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "gemma_cli", "describe-image", str(path), "--format", "jsonl"]
    subprocess.run(command, env=os.environ | {"GEMMA_MODEL": "pocket"}, capture_output=True, check=True)
    return time.monotonic() - began


def _together(paths: list[Path], failures: list[str]) -> float:
    """How many times as fast all are together as one by one, without and with encoding; the best of ROUNDS each."""
    engine = open_engine(EngineSpec(model="pocket", device="cpu"))
    requests = [Request(ask(read_image(path), "Describe this image."), GREEDY) for path in paths]
    times: dict[str, list[float]] = {"alone": [], "together": []}
    for _ in range(ROUNDS):
        texts = {}
        for way, run in (("alone", _one_by_one), ("together", _all)):
            engine.towers.forget()  # type: ignore[attr-defined]
            engine.towers._counts.clear()  # type: ignore[attr-defined]
            began = time.monotonic()
            texts[way] = run(engine, requests)
            times[way].append(time.monotonic() - began)
        if texts["alone"] != texts["together"]:
            failures.append("not the same text")
    return min(times["alone"]) / min(times["together"])


def _one_by_one(engine, requests):  # type: ignore[no-untyped-def]
    return ["".join(getattr(event, "text", "") for event in engine.stream(request)) for request in requests]


def _all(engine, requests):  # type: ignore[no-untyped-def]
    texts = [""] * len(requests)
    with closing(stream_many(engine, requests)) as answers:
        for index, event in answers:
            texts[index] += getattr(event, "text", "")
    return texts
