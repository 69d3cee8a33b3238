"""Answered together, every request gets what it gets alone, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from gemma_cli.core.engine import EngineSpec, stream_many
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Event, Turn, collect
from gemma_cli.core.messages import GREEDY, Audio, Drafting, Image, Message, Request, Sampling, Text, ask
from gemma_cli.engines.local.batching import FEW, Batcher
from gemma_cli.engines.local.decoding.batch import Batch
from gemma_cli.engines.local.encoders.audio_batch import AudioBatcher
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.loading import load
from gemma_cli.engines.local.opening import open_local
from gemma_cli.store.models.checkpoints import locate
from gemma_cli.store.models.releases import POCKET
from tests.engines.helpers import tiny

noise = np.random.default_rng(0)
PICTURE = Image("picture", "picture.png", noise.integers(0, 256, (50, 80, 3), dtype=np.uint8))


def sound(samples: int) -> Audio:
    return Audio(f"sound {samples}", f"{samples}.wav", noise.normal(0, 0.1, samples).astype(np.float32))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    torch.set_num_threads(1)
    folder = tiny.write_checkpoint(tmp_path_factory.mktemp("batch") / "tiny")
    return open_local(EngineSpec(model=str(folder), device="cpu", dtype="float32"))


def requests() -> list[Request]:
    """More than go into a batch, of every kind, length and sampling; prompts of one pass and of three."""
    turns = (*ask("One?"), Message("assistant", (Text("Two."),), thinking="Hm."), *ask("Three?"))
    kinds = [ask("a"), ask("Hello.", system="Be kind."), turns, ask("All work and no play. " * 12)]
    kinds += [ask("What is this?", PICTURE), ask("Write down:", sound(12_000)), ask("Write down:", sound(20_000))]
    samplings = [GREEDY, Sampling(seed=3), GREEDY, Sampling(temperature=0.6, top_k=0, top_p=1.0, seed=1)]
    return [
        Request(kinds[i % len(kinds)], replace(samplings[i % 4], max_tokens=1 + 5 * i % 24), Drafting(i % 3))
        for i in range(20)
    ]


def turns_of(answers: Iterator[tuple[int, Event | InputError]], count: int) -> list[Turn | InputError]:
    events: list[list[Event]] = [[] for _ in range(count)]
    errors: dict[int, InputError] = {}
    for index, event in answers:
        if isinstance(event, InputError):
            errors[index] = event
        else:
            events[index].append(event)
    return [errors.get(index) or collect(events[index]) for index in range(count)]


def said(turn: Turn | InputError) -> tuple[object, ...]:
    assert isinstance(turn, Turn)
    return turn.text, turn.thinking, turn.finish_reason, turn.usage


def test_together_and_alone_the_replies_are_the_same(engine: LocalEngine) -> None:
    asked = requests()
    alone = [collect(engine.stream(request)) for request in asked]
    together = turns_of(stream_many(engine, asked), len(asked))
    assert [said(turn) for turn in together] == [said(turn) for turn in alone]
    assert len({turn.text for turn in alone}) > 12, "replies that are all alike show nothing"
    assert all(turn.timings.ttft_s for turn in together if isinstance(turn, Turn))


def test_prompts_read_together_leave_what_they_leave_alone(engine: LocalEngine) -> None:
    """Logits and every key, and the same again after each of a few tokens."""
    batch = Batch(engine.target)
    prompts = [engine.writer.write(request, engine.towers.count) for request in requests()[:9]]

    def features(span):
        return engine.towers.features(span.medium, span.budget)

    caches, logits = batch.read(prompts, features, [8] * len(prompts))
    single = []
    for prompt in prompts:
        engine.live.forget()
        cache, (row, _), _ = engine.live.read(prompt, features, 8)
        single.append((cache, row))
    for step in range(4):
        for (cache, row), other, together in zip(single, caches, logits, strict=True):
            assert torch.equal(row[0], together), step
            for index, slots in cache.layers.items():
                for one, two in zip(
                    slots.span(max(0, cache.length - 16), cache.length),
                    other.layers[index].span(max(0, cache.length - 16), cache.length),
                    strict=True,
                ):
                    assert torch.equal(one, two)
        tokens = logits.argmax(-1).tolist()
        logits = batch.step(tokens, caches)
        single = [
            (cache, engine.target.verify(torch.tensor([token]), cache)[0])
            for (cache, _), token in zip(single, tokens, strict=True)
        ]


def test_requests_are_taken_only_when_there_is_room(engine: LocalEngine) -> None:
    taken = 0

    def asking() -> Iterator[Request]:
        nonlocal taken
        for request in requests() * 3:
            taken += 1
            yield request

    most = engine.target.rows.most
    done = 0
    with closing(stream_many(engine, asking())) as answers:
        for _, event in answers:
            done += type(event).__name__ == "Done"
            assert taken - done <= most + 1
            if done == most:
                break
    assert engine.target.rows.most < taken < 60
    request = requests()[0]
    assert collect(engine.stream(request)).text == collect(engine.stream(request)).text


def test_memory_for_fewer_makes_smaller_batches(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests()[:7]
    whole = turns_of(stream_many(engine, asked), len(asked))
    longest = Batch(engine.target)._bytes(engine.target.context)
    held = []
    begin = Batcher._begin

    def beginning(self, asked):
        held.append(len(self._saying) + len(asked))
        return begin(self, asked)

    monkeypatch.setattr(Batcher, "_begin", beginning)
    for memory in (1, 5 * Batch(engine.target)._bytes(64), longest):
        monkeypatch.setattr("gemma_cli.engines.local.decoding.batch.CACHES", memory)
        turns = turns_of(stream_many(engine, asked), len(asked))
        assert [said(turn) for turn in turns] == [said(turn) for turn in whole], memory
    assert min(held) < 7 <= max(held)


def test_a_few_are_answered_one_by_one_with_drafts(engine: LocalEngine) -> None:
    asked = [replace(request, drafting=Drafting(3)) for request in requests()[:FEW]]
    for count, drafted in ((FEW - 1, True), (FEW, False)):
        turns = turns_of(stream_many(engine, asked[:count]), count)
        assert any(turn.speculation.drafted for turn in turns if isinstance(turn, Turn)) is drafted


def test_the_prompt_of_each_request_is_written_once(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of those that are answered alone: too few for a batch, or held to a schema."""
    written: list[Request] = []
    write = engine.writer.write
    monkeypatch.setattr(
        engine.writer, "write", lambda request, count: (written.append(request), write(request, count))[1]
    )
    held = Request(ask("Hello."), Sampling(seed=5, max_tokens=4), schema='{"type": "object"}')
    for asked in (requests()[: FEW - 1], requests()[:FEW], [*requests()[:FEW], held]):
        written.clear()
        list(stream_many(engine, asked))
        assert sorted(map(id, written)) == sorted(map(id, asked))


def test_one_that_cannot_be_answered_does_not_stop_the_others(engine: LocalEngine) -> None:
    fine = requests()[:FEW]
    asked = [fine[0], Request(ask("Write down:", sound(40 * 16_000))), Request(ask("x" * 9000)), *fine[1:]]
    first, long, much, *others = turns_of(stream_many(engine, asked), len(asked))
    assert [said(turn) for turn in (first, *others)] == [said(collect(engine.stream(request))) for request in fine]
    assert "accepts at most 30 s" in str(long)
    assert "shorten the prompt" in str(much)


def test_where_rows_do_not_agree_requests_go_alone(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [replace(request, drafting=Drafting(2)) for request in requests()[:FEW]]
    alone = [collect(engine.stream(request)) for request in asked]
    monkeypatch.setattr(engine.target, "rows", replace(engine.target.rows, exact=False))
    turns = turns_of(stream_many(engine, asked), len(asked))
    assert [said(turn) for turn in turns] == [said(turn) for turn in alone]
    assert all(turn.speculation.drafted for turn in turns if isinstance(turn, Turn) and turn.speculation.rounds)


def test_prompts_are_read_one_by_one_where_long_passes_do_not_agree(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(engine.target)
    assert list(batch._parts([10, 10, 10])) == [slice(0, 3)]
    assert list(batch._parts([500, 500, 500])) == [slice(0, 2), slice(2, 3)]
    monkeypatch.setattr("gemma_cli.engines.local.decoding.batch.agree_when_many", lambda target, rows: False)
    assert list(Batch(engine.target)._parts([10, 10])) == [slice(0, 1), slice(1, 2)]


def test_sounds_heard_together_are_heard_as_alone() -> None:
    """By pocket: of one length and of several; one of which nothing is left is told by whoever asks for it."""
    _, folder = locate(POCKET)
    config = load.read_config(folder)
    together, alone = (MediaEncoders(folder, config, torch.device("cpu"), torch.float32) for _ in range(2))
    sounds = [sound(length) for length in (9_000, 9_500, 21_000, 21_500, 22_000, 60_000, 100)]
    for _ in range(2):
        together.listen(sounds)
        for one in sounds[:-1]:
            assert torch.equal(together._kept[one.digest, 0], alone.features(one, None)), one.name
        assert together._sounds._agree is not None
        together._kept.clear()
    with pytest.raises(InputError, match="too short"):
        together.features(sounds[-1], None)


def test_sounds_are_heard_one_by_one_where_that_makes_a_difference() -> None:
    sizes = []

    def embed(frames: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(frames))
        return frames + len(frames), mask

    heard = [(torch.full((1, 50, 2), float(number)), torch.ones(1, 50, dtype=torch.bool)) for number in range(3)]
    sounds = AudioBatcher(embed)
    for _ in range(2):
        assert [rows[0, 0].item() for rows in sounds.encode(heard)] == [1.0, 2.0, 3.0]
    assert sizes == [1, 1, 1, 3, 1, 1, 1]
