"""Answered by the scheduler, whoever else comes and goes, every request gets what it gets alone, to the last bit."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import GemmaError, InputError, ModelError, OutOfMemory
from gemma_cli.core.events import Delta, Done, Event, Turn, collect
from gemma_cli.core.messages import GREEDY, Audio, Drafting, Image, Message, Request, Sampling, Text, ask
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.opening import open_local
from gemma_cli.engines.local.scheduling import scheduler as scheduling
from gemma_cli.engines.local.scheduling.prefix_store import PrefixStore
from gemma_cli.engines.local.scheduling.rounds import Rounds
from gemma_cli.engines.local.scheduling.scheduler import BatchScheduler
from tests.engines.helpers import tiny

noise = np.random.default_rng(0)
PICTURE = Image("picture", "picture.png", noise.integers(0, 256, (50, 80, 3), dtype=np.uint8))
SOUND = Audio("sound", "sound.wav", noise.normal(0, 0.1, 12_000).astype(np.float32))
SCHEMA = '{"type": "array", "items": {"enum": ["ab", "ba"]}, "maxItems": 3}'


def pool() -> list[Request]:
    """Requests of every kind, length, sampling and constraint; prompts of one pass and of four."""
    turns = (*ask("One?"), Message("assistant", (Text("Two."),), thinking="Hm."), *ask("Three?"))
    kinds = [ask("a"), ask("Hello.", system="Be kind."), turns, ask("All work and no play. " * 20)]
    kinds += [ask("What is this?", PICTURE), ask("Write down:", SOUND)]
    samplings = [GREEDY, Sampling(seed=3), Sampling(temperature=0.6, top_k=0, top_p=1.0, seed=1)]
    samplings += [Sampling(temperature=0.9, top_k=8, top_p=0.8, seed=7, min_p=0.01), Sampling(seed=11)]
    draftings = [Drafting(4, adaptive=True), Drafting(0), Drafting(3), Drafting(8, adaptive=True)]
    rules = [{}, {}, {"schema": SCHEMA}, {"thinking": True, "thinking_budget": 5}, {}]
    return [
        Request(kinds[i % 6], replace(samplings[i % 5], max_tokens=1 + 7 * i % 30), draftings[i % 4], **rules[i % 5])  # type: ignore[arg-type]
        for i in range(24)
    ]


@dataclass
class Trial:
    """An engine, requests and the reply to each alone."""

    engine: LocalEngine
    requests: list[Request]
    alone: list[Turn] = field(default_factory=list)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    torch.set_num_threads(1)
    folder = tiny.write_checkpoint(tmp_path_factory.mktemp("scheduler") / "tiny")
    engine = open_local(EngineSpec(model=str(folder), device="cpu", dtype="float32"))
    return Trial(engine, pool(), [collect(engine.stream(request)) for request in pool()])


def said(turn: Turn) -> tuple[object, ...]:
    return turn.text, turn.thinking, turn.finish_reason, turn.usage


def finished(scheduler: BatchScheduler, steps: int = 10_000) -> dict[int, list[Event]]:
    """The events of each request, by its key. Raises an error that one ended with."""
    found: dict[int, list[Event]] = defaultdict(list)
    while scheduler.busy and steps:
        steps -= 1
        for key, event in scheduler.step():
            if isinstance(event, GemmaError):
                raise event
            found[key].append(event)
    return found


visits = st.lists(
    st.tuples(st.integers(0, 23), st.integers(0, 12), st.one_of(st.none(), st.integers(0, 9))), min_size=2, max_size=14
)
"""Which request, the steps after which it joins, and the further ones after which it leaves, if it does."""


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(visits, st.integers(1, 9))
def test_whoever_comes_and_goes_each_text_is_the_one_alone(
    trial: Trial, visits: list[tuple[int, int, int | None]], most: int
) -> None:
    scheduler = BatchScheduler(trial.engine, most)
    events: dict[int, list[Event]] = defaultdict(list)
    gone: set[int] = set()
    step = 0
    while scheduler.busy or step < 22:
        for key, (index, joins, stays) in enumerate(visits):
            if step == joins:
                scheduler.add(key, trial.requests[index])
            if stays is not None and step == joins + stays:
                scheduler.remove(key)
                gone.add(key)
        assert scheduler.under_way <= most
        for key, event in scheduler.step():
            assert key not in gone
            assert not isinstance(event, GemmaError)
            events[key].append(event)
        step += 1
    for key, (index, _, stays) in enumerate(visits):
        turn = collect(events[key])
        if stays is None or any(isinstance(event, Done) for event in events[key]):
            assert said(turn) == said(trial.alone[index]), trial.requests[index]
        else:
            assert trial.alone[index].text.startswith(turn.text)
    assert not scheduler.under_way


def test_all_at_once_share_passes_and_are_drafted(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    run = Rounds.run
    monkeypatch.setattr(Rounds, "run", lambda self, part: (passes.append(len(part)), run(self, part))[1])
    scheduler = BatchScheduler(trial.engine, 16)
    for key, request in enumerate(trial.requests):
        scheduler.add(key, request)
    found = finished(scheduler)
    turns = [collect(found[key]) for key in range(len(trial.requests))]
    assert [said(turn) for turn in turns] == [said(turn) for turn in trial.alone]
    assert len({turn.text for turn in turns}) > 12, "replies that are all alike show nothing"
    assert max(passes) > 10
    assert sum(turn.speculation.drafted for turn in turns) > 20


def test_where_wide_passes_do_not_agree_rounds_take_several(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "widest_pass", lambda target, most: 4)
    monkeypatch.setattr("gemma_cli.engines.local.scheduling.prompts.agree_when_many", lambda target, rows: False)
    scheduler = BatchScheduler(trial.engine, 9)
    for key, request in enumerate(trial.requests[:12]):
        scheduler.add(key, request)
    found = finished(scheduler)
    assert [said(collect(found[key])) for key in range(12)] == [said(turn) for turn in trial.alone[:12]]


def test_while_a_long_prompt_is_read_every_step_brings_tokens(trial: Trial) -> None:
    engine = trial.engine
    running = Request(ask("Hello."), Sampling(seed=1, max_tokens=60), Drafting(0))
    long = Request(ask("All work and no play. " * 40), Sampling(seed=2, max_tokens=3))
    scheduler = BatchScheduler(engine, 4)
    scheduler.add(0, running)
    scheduler.step()
    scheduler.add(1, long)
    before_first = 0
    while not (answers := scheduler.step()) or all(key == 0 for key, _ in answers):
        assert any(isinstance(event, Delta) or key == 0 for key, event in answers)
        before_first += 1
    assert before_first >= 5, "it was read in one go"


def test_what_cannot_be_answered_ends_alone(trial: Trial) -> None:
    scheduler = BatchScheduler(trial.engine, 8)
    long = Audio("long", "long.wav", np.zeros(40 * 16_000, np.float32))
    wrong = [Request(ask("Write down:", long)), Request(ask("x" * 9000)), Request(ask("a"), Sampling(max_tokens=0))]
    for key, request in enumerate([trial.requests[1], *wrong, trial.requests[2]]):
        scheduler.add(key, request)
    found: dict[int, list[Event | GemmaError]] = defaultdict(list)
    while scheduler.busy:
        for key, event in scheduler.step():
            found[key].append(event)
    assert [isinstance(found[key][-1], InputError) for key in range(5)] == [False, True, True, True, False]
    for key, index in ((0, 1), (4, 2)):
        assert said(collect([one for one in found[key] if not isinstance(one, GemmaError)])) == said(trial.alone[index])


@pytest.mark.parametrize("when", ["reading", "verifying", "choosing"])
def test_out_of_memory_ends_one_request_and_no_other(trial: Trial, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Wherever it comes in a pass that several share: the others go on, with the text they would have had."""
    target = trial.engine.target
    owner, name = {
        "reading": (type(target), "read"),
        "verifying": (type(target), "verify_each"),
        "choosing": (scheduling.Rounds, "_verify"),
    }[when]
    real, calls = getattr(owner, name), []

    def failing(self: object, *arguments: object) -> object:
        calls.append(1)
        result = real(self, *arguments)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return result

    monkeypatch.setattr(owner, name, failing)
    scheduler = BatchScheduler(trial.engine, 8)
    chosen = [3, 9, 15, 21]  # prompts of several passes
    for key, index in enumerate(chosen):
        scheduler.add(key, trial.requests[index])
    found: dict[int, list[Event]] = defaultdict(list)
    errors: dict[int, GemmaError] = {}
    while scheduler.busy:
        for key, event in scheduler.step():
            if isinstance(event, GemmaError):
                errors[key] = event
            else:
                found[key].append(event)
    assert len(errors) == 1
    assert all(isinstance(error, OutOfMemory) for error in errors.values())
    for key in set(range(4)) - set(errors):
        assert said(collect(found[key])) == said(trial.alone[chosen[key]])


def test_what_is_not_a_number_ends_one_request(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = Rounds._verify

    def broken(self: Rounds, drafts: list) -> tuple[list[list[int]], list]:
        chosen, states = chooser(self, drafts)
        return [
            [-1] * len(row) if draft.sequence.key == 1 else row for draft, row in zip(drafts, chosen, strict=True)
        ], states

    monkeypatch.setattr(Rounds, "_verify", broken)
    scheduler = BatchScheduler(trial.engine, 8)
    for key in range(3):
        scheduler.add(key, trial.requests[1 + key])
    errors = {}
    done = set()
    while scheduler.busy:
        for key, event in scheduler.step():
            if isinstance(event, ModelError):
                errors[key] = event
            elif isinstance(event, Done):
                done.add(key)
    assert errors.keys() == {1}
    assert "invalid numbers" in str(errors[1])
    assert done == {0, 2}


def test_too_little_memory_for_all_lets_some_wait(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "CACHES", 1)
    scheduler = BatchScheduler(trial.engine, 8)
    for key in range(4):
        scheduler.add(key, trial.requests[key])
    seen = 0
    found: dict[int, list[Event]] = defaultdict(list)
    while scheduler.busy:
        for key, event in scheduler.step():
            assert not isinstance(event, GemmaError)
            found[key].append(event)
        seen = max(seen, scheduler.under_way)
    assert seen == 1
    assert [said(collect(found[key])) for key in range(4)] == [said(turn) for turn in trial.alone[:4]]


@pytest.mark.usefixtures("torch_only")
def test_with_torch_alone_the_texts_are_the_same_too(trial: Trial) -> None:
    """Its attention has row counts that agree and others that do not."""
    engine = open_local(EngineSpec(model=trial.engine.info.model, device="cpu", dtype="float32"))
    chosen = [0, 3, 7, 8, 9, 16]
    alone = [collect(engine.stream(trial.requests[index])) for index in chosen]
    scheduler = BatchScheduler(engine, 6)
    for key, index in enumerate(chosen):
        scheduler.add(key, trial.requests[index])
    found = finished(scheduler)
    assert [said(collect(found[key])) for key in range(len(chosen))] == [said(turn) for turn in alone]


def after_one_another(scheduler: BatchScheduler, requests: list[Request]) -> list[Turn]:
    turns = []
    for key, request in enumerate(requests):
        scheduler.add(key, request)
        turns.append(collect(finished(scheduler)[key]))
    return turns


def test_what_prompts_share_is_read_once_and_changes_no_text(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one text with several questions, with other media in the same place, and of the same request again; whatever
    memory there is for it."""
    text = "All work and no play makes Jack a dull boy. " * 9
    asked = [
        Request(ask(question, system=text), Sampling(seed=1, max_tokens=6)) for question in ("a?", "b? " * 30, "a?")
    ]
    other = replace(PICTURE, digest="other", pixels=255 - PICTURE.pixels)
    asked += [Request(ask(text, picture), Sampling(seed=2, max_tokens=6)) for picture in (PICTURE, other, PICTURE)]
    alone = []
    for request in asked:
        trial.engine.live.forget()
        alone.append(said(collect(trial.engine.stream(request))))
    rows = []
    read = type(trial.engine.target).read
    monkeypatch.setattr(
        type(trial.engine.target),
        "read",
        lambda self, passes: (rows.append(sum(one.x.shape[0] for one in passes)), read(self, passes))[1],
    )
    whole = {}
    for limit in (1 << 28, 1 << 20, 0):
        scheduler = BatchScheduler(trial.engine, 4, prefix_bytes=limit)
        for again in (False, True):
            rows.clear()
            assert [said(turn) for turn in after_one_another(scheduler, asked)] == alone
            whole[limit, again] = sum(rows)
            assert scheduler._reader.store.nbytes <= limit
    assert whole[0, False] == whole[0, True] == sum(turn[3].prompt_tokens for turn in alone)  # type: ignore[attr-defined]
    assert whole[1 << 28, False] < 0.6 * whole[0, False]
    assert whole[1 << 28, True] < 0.1 * whole[0, False]


def test_what_was_used_least_recently_goes_first(trial: Trial) -> None:
    """And of a chain its end before its beginning, which other prompts share."""
    target = trial.engine.target
    cache = target.new_cache(64)
    target.prefill(torch.arange(3, 35), cache)
    store = PrefixStore(1 << 30)
    for chain in ([b"a"], [b"a", b"b"], [b"a", b"c"], [b"d"]):
        store.keep(chain, cache, 0, None)
    store.resume([b"a", b"b"], 40, target.new_cache(64))
    size = store.nbytes // 4
    left = []
    for count in (3, 2, 1):
        store.limit = count * size
        store.keep([b"a", b"b"], cache, 0, None)
        left.append(sorted(store._passes))
    assert left == [[b"a", b"b", b"d"], [b"a", b"b"], [b"a"]]


def test_words_get_the_times_they_get_alone(trial: Trial) -> None:
    asked = [Request(ask("Write down:", SOUND), Sampling(seed=seed, max_tokens=9), word_times=True) for seed in (1, 2)]
    alone = []
    for request in asked:
        trial.engine.live.forget()
        alone.append(collect(trial.engine.stream(request)).alignment)
    scheduler = BatchScheduler(trial.engine, 4)
    for _ in range(2):  # the second time with what the first has left
        for key, request in enumerate([*asked, trial.requests[1]]):
            scheduler.add(key, request)
        found = finished(scheduler)
        for key, expected in enumerate(alone):
            aligned = collect(found[key]).alignment
            assert aligned is not None
            assert expected is not None
            assert aligned.pieces == expected.pieces
            assert aligned.logprobs == expected.logprobs
            assert np.array_equal(aligned.attention, expected.attention)


def test_the_prompt_of_one_that_waits_for_memory_is_written_once(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "CACHES", 1)
    written = []
    write = trial.engine.writer.write
    monkeypatch.setattr(trial.engine.writer, "write", lambda *asked: (written.append(asked[0]), write(*asked))[1])
    scheduler = BatchScheduler(trial.engine, 4)
    for key in (1, 2):
        scheduler.add(key, trial.requests[key])
    finished(scheduler)
    assert len(written) == 2


def test_the_draft_length_is_learned_within_what_requests_allow(trial: Trial) -> None:
    """Else no round would have the length that was chosen, and nothing would ever be learned."""
    scheduler = BatchScheduler(trial.engine, 4)
    for key in range(4):
        scheduler.add(key, Request(ask("Hello."), Sampling(seed=key, max_tokens=30), Drafting(1, adaptive=True)))
    finished(scheduler)
    assert any(scheduler._rounds._paces[4].newest)
