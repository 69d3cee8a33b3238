"""Everything that runs on an Apple GPU keeps to what one can do, and samples the text that the CPU samples.

The GPU is pretended (apple.py); this has not been run on a real one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gemma_cli.cli import run
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.events import collect
from gemma_cli.core.messages import GREEDY, Audio, Drafting, Image, Message, Part, Request, Sampling, ask
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.measure.perplexity import perplexity
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.opening import open_local
from tests.engines.helpers import apple

SEED = 3
SAMPLINGS = {
    "greedy": GREEDY,
    "default": Sampling(seed=SEED),
    "top-k 0": Sampling(top_k=0, seed=SEED),
    "top-k 0, top-p 1": Sampling(temperature=1.5, top_k=0, top_p=1.0, seed=SEED),
}
RNG = np.random.default_rng(0)
PICTURE = Image("picture", "picture.png", RNG.integers(0, 256, (50, 80, 3), dtype=np.uint8))
SOUND = Audio("sound", "sound.wav", RNG.normal(0, 0.1, 12_000).astype(np.float32))


@pytest.fixture(scope="module")
def on_cpu() -> LocalEngine:
    return opened("cpu")


@pytest.fixture(scope="module")
def on_gpu() -> LocalEngine:
    with apple.gpu():
        engine = opened("auto")
    assert engine.info.device.startswith("mps")
    return engine


def opened(device: str) -> LocalEngine:
    return open_local(EngineSpec("pocket", device=device, dtype="float32"))


@pytest.fixture
def gpu() -> Iterator[None]:
    with apple.gpu():
        yield


@pytest.mark.parametrize("refused", [torch.Tensor.double, torch.frexp, torch.linalg.eigvals, torch.Tensor.cdouble])
def test_what_an_apple_gpu_lacks_is_refused(gpu: None, refused: Any) -> None:
    square = torch.ones(2, 2, device="mps")
    with pytest.raises(apple.Refused):
        refused(square)
    with pytest.raises(apple.Refused):
        torch.ones(2, dtype=torch.float64, device="mps")
    with pytest.raises(apple.Refused):
        torch.ones(2, dtype=torch.float64).to("mps")
    assert (square + 1).tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_a_seed_says_what_it_says_on_the_cpu(on_cpu: LocalEngine, on_gpu: LocalEngine, sampling: Sampling) -> None:
    request = Request(ask("Tell me a story."), replace(sampling, max_tokens=5), Drafting(3))
    expected = reply(on_cpu, request)
    with apple.gpu():
        assert reply(on_gpu, request) == expected
        assert reply(on_gpu, replace(request, drafting=Drafting(0))) == expected


@pytest.mark.parametrize("part", [PICTURE, SOUND], ids=["image", "audio"])
def test_media(on_cpu: LocalEngine, on_gpu: LocalEngine, part: Part) -> None:
    request = Request(ask(part, "What is this?"), Sampling(seed=SEED, max_tokens=3))
    with apple.gpu():
        said = reply(on_gpu, request)
    assert said == reply(on_cpu, request)


def reply(engine: LocalEngine, request: Request) -> list[int]:
    prompt = engine.writer.write(request, engine.towers.count)
    return [token for burst in engine.tokens(request, prompt) for token in burst.tokens]


def test_the_rest_of_the_engine(on_cpu: LocalEngine, on_gpu: LocalEngine) -> None:
    """Answers to a schema, several requests at once, the next turn of a chat, perplexity."""
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    bound = Request(ask("One?"), Sampling(seed=SEED, max_tokens=16), schema=schema)  # type: ignore[arg-type]
    turns = (*ask("One?"), Message("assistant", ask("Two.")[0].parts), *ask("Three?"))
    requests = [Request(ask("One?"), Sampling(max_tokens=2)), Request(turns, Sampling(max_tokens=2))]
    with apple.gpu():
        assert json.loads(collect(on_gpu.stream(bound)).text)["n"] in (1, 2)
        assert {index for index, _ in on_gpu.stream_many(requests)} == {0, 1}
        surprise = perplexity(on_gpu, [("One?", "Two.")])
    assert surprise == pytest.approx(perplexity(on_cpu, [("One?", "Two.")]), rel=1e-3)


def test_bfloat16_is_the_default(gpu: None) -> None:
    engine = open_local(EngineSpec("pocket"))
    assert (engine.info.device, engine.info.dtype) == ("mps", "bfloat16")
    assert len(reply(engine, Request(ask("hello"), Sampling(seed=SEED, max_tokens=3)))) == 3


def test_chat_and_bench_as_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The path from the command line on, which chooses the device and times with it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    limits = ["--model", "pocket", "--max-tokens", "4", "--json"]
    with apple.gpu():
        assert run(["chat", *limits, "--seed", str(SEED), "hello"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert run(["bench", *limits, "--prompt", "hello", "--runs", "1", "--sweep", "0,2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (said["settings"]["device"], found["device"]) == ("mps", "mps")
    assert said["usage"]["completion_tokens"] == 4
    assert found["texts_equal"] is True
    assert [arm["draft_tokens"] for arm in found["arms"]] == [0, 2]
    assert all(arm["tokens_per_second"]["median"] > 0 for arm in found["arms"])


def test_rotations_are_those_of_the_cpu(gpu: None) -> None:
    shape = (tuple(10_000 ** -(i / 32) for i in range(32)), 1.0)
    on_gpu, on_cpu = Rope(*shape, torch.device("mps")), Rope(*shape, torch.device("cpu"))
    for start, count in ((1000, 5), (70_000, 200)):
        for ours, theirs in zip(on_gpu.rows(start, count), on_cpu.rows(start, count), strict=True):
            assert ours.device.type == "mps"
            assert torch.equal(ours.cpu(), theirs)


def test_equals_at_the_edge_of_top_k_are_settled_on_the_cpu(gpu: None) -> None:
    """Where the GPU cannot tell which of many equals belong to the best, all columns travel."""
    logits, position = torch.zeros(2, 5000), torch.tensor([4, 5])
    logits[1, 4000:] = 1.0
    ids = torch.arange(5000).flip(0).expand(2, -1)
    for sampling in SAMPLINGS.values():
        for shortlist in (None, ids):
            expected = Sampler(sampling, (4000,)).choose(logits, position, shortlist)
            moved = None if shortlist is None else shortlist.to("mps")
            found = Sampler(sampling, (4000,)).choose(logits.to("mps"), position.to("mps"), moved)
            assert found.device.type == "mps"
            assert found.tolist() == expected.tolist()
