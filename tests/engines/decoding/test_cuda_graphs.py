"""Rounds as a GPU runs them, run on the CPU: the same functions in the same order, with nothing recorded.

What cannot be seen here is the recording itself. That the functions never wait for the device, which recording asks of
them, is what test_host_syncs shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gemma_cli.core.errors import ModelError
from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding import cuda_graphs
from gemma_cli.engines.local.decoding.accept import SyntheticAcceptance
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.decoding.decode import Burst, FixedDraftLength, decode
from gemma_cli.engines.local.decoding.graph_attention import StaticRows
from gemma_cli.engines.local.decoding.lookup import Lookup
from gemma_cli.engines.local.decoding.prefix_cache import PrefixCache
from gemma_cli.engines.local.decoding.recorder import Recorder
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.loading.load import load_drafter, load_target
from gemma_cli.engines.local.model.attention import FewRows
from gemma_cli.engines.local.model.cache import BUCKET, bucket
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.text.prompt import Prompt
from tests.engines.helpers import shapes
from tests.engines.helpers.exactness import tokens as random_tokens
from tests.engines.helpers.kernels import WITHOUT, kernels_for

CPU = torch.device("cpu")
PROMPT = BUCKET - 12  # so that replies cross the end of a bucket
TOKENS = 30
SAMPLINGS = {
    "greedy": Sampling(temperature=0.0, max_tokens=TOKENS),
    "sampled": Sampling(temperature=8.0, seed=4, max_tokens=TOKENS),  # at less this model says one word
    "sampled from all": Sampling(temperature=6.0, top_k=0, top_p=1.0, seed=9, max_tokens=TOKENS),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Drafter]]:
    """Without our kernels, as on a GPU."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("graphs")
    with kernels_for(WITHOUT):
        target = load_target(shapes.save(shapes.stock_target("e2b"), folder / "target"), CPU, torch.float32)
        yield target, load_drafter(shapes.save(shapes.stock_drafter("e2b"), folder / "drafter"), target)


class Knowing:
    """A drafter that knows a reply and errs at every `errs`-th position, in tensors alone."""

    def __init__(self, drafter: Drafter, reply: list[int], start: int, errs: int = 4) -> None:
        self.errs = errs
        self.ropes, self.arch = drafter.ropes, drafter.arch
        self.reply, self.start = torch.tensor([*reply, *[3] * 20]), start
        self.device: RoundState

    def step(self, token: Tensor, hidden: Tensor, context: object) -> tuple[Tensor, None, Tensor]:
        position = self.device.length + self.device.step + 1
        right = self.reply.index_select(0, position - self.start)
        said = torch.where(position % self.errs == 0, (right + 1) % shapes.VOCAB, right)
        return torch.full((1, shapes.VOCAB), -1e9).index_fill(1, said, 0.0), None, hidden


def prefilled(target: Target, prompt: int = PROMPT) -> tuple[Any, tuple[Tensor, Tensor]]:
    cache = target.new_cache()
    return cache, target.prefill(random_tokens(prompt), cache)


def plain(target: Target, sampling: Sampling, prompt: int = PROMPT) -> list[int]:
    cache, last = prefilled(target, prompt)
    bursts = decode(
        target, None, cache, last, Sampler(sampling), FixedDraftLength(0), stop=(), limit=sampling.max_tokens
    )
    return said(bursts)


def said(bursts: Iterator[Burst]) -> list[int]:
    return [token for burst in bursts for token in burst.tokens]


@pytest.fixture(scope="module")
def plains(pair: tuple[Target, Drafter]) -> dict[str, list[int]]:
    replies = {name: plain(pair[0], sampling) for name, sampling in SAMPLINGS.items()}
    assert len(set(replies["sampled"])) > TOKENS / 2
    return replies


@pytest.mark.parametrize("drafts", [0, 1, 4, 7])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_rounds_launched_ahead_say_the_same(
    pair: tuple[Target, Drafter], plains: dict[str, list[int]], name: str, drafts: int
) -> None:
    target, drafter = pair
    cache, last = prefilled(target)
    knowing = Knowing(drafter, plains[name], cache.length)
    knowing.device = device = RoundState(target, knowing)  # type: ignore[arg-type]
    bursts = list(
        cuda_graphs.decode(device, cache, last, SAMPLINGS[name], FixedDraftLength(drafts), stop=(), limit=TOKENS)
    )
    assert said(iter(bursts)) == plains[name]
    assert cache.length == PROMPT + TOKENS - 1
    rounds = [burst.round for burst in bursts if burst.round]
    assert all(1 + passed.accepted == len(burst.tokens) for burst, passed in zip(bursts[1:-1], rounds, strict=False))
    if drafts == 4:
        assert {passed.accepted for passed in rounds[:-2]} >= {3}, "three are right between two that are not"


@pytest.mark.parametrize("before", range(1, 10))
def test_rounds_in_which_all_is_right_say_the_same_wherever_a_bucket_ends(
    pair: tuple[Target, Drafter], before: int
) -> None:
    """Rounds of eight tokens, the longest, that begin at each distance from the end: those launched ahead read beyond
    it too."""
    target, drafter = pair
    start = BUCKET - 8 - before
    sampling = replace(SAMPLINGS["sampled"], max_tokens=26)
    expected = plain(target, sampling, start)
    cache, last = prefilled(target, start)
    knowing = Knowing(drafter, expected, start, errs=10_000)
    knowing.device = device = RoundState(target, knowing)  # type: ignore[arg-type]
    bursts = list(cuda_graphs.decode(device, cache, last, sampling, FixedDraftLength(7), stop=(), limit=26))
    assert said(iter(bursts)) == expected
    assert [burst.round.accepted for burst in bursts if burst.round] == [7, 7, 7, 1]


def test_the_drafter_itself_and_a_second_reply(pair: tuple[Target, Drafter], plains: dict[str, list[int]]) -> None:
    """The real drafter's steps run too; a device goes from reply to reply and from sampling to sampling."""
    target, drafter = pair
    device = RoundState(target, drafter)
    for name in ("sampled", "greedy", "sampled"):
        cache, last = prefilled(target)
        assert (
            said(cuda_graphs.decode(device, cache, last, SAMPLINGS[name], FixedDraftLength(2), stop=(), limit=TOKENS))
            == plains[name]
        )


def test_drafts_are_those_of_the_drafter(pair: tuple[Target, Drafter]) -> None:
    """A draft step over fixed memory agrees with drafter.step over slices, past the window."""
    target, drafter = pair
    cache, (_, state) = prefilled(target)
    device = RoundState(target, drafter)
    device.attach(cache, TOKENS, SAMPLINGS["greedy"])
    device.begin(torch.tensor([7]), state)
    length = bucket(cache.length)
    context = drafter.begin(target, cache, cache.length)
    token, hidden, expected = torch.tensor([7]), state, []
    with torch.inference_mode():
        for _ in range(3):
            device._draft_step(length)
            logits, ids, hidden = drafter.step(token, hidden, context)
            token = Sampler(SAMPLINGS["greedy"]).choose(logits, token, ids)
            expected.append(token.item())
    assert device.proposed[1:4].tolist() == expected


def test_a_stop_token_ends_a_reply_though_the_next_round_is_under_way(
    pair: tuple[Target, Drafter], plains: dict[str, list[int]]
) -> None:
    target, drafter = pair
    reply = plains["sampled"]
    for index in (0, 1, 5, 6, 7):
        expected = reply[: reply.index(reply[index]) + 1]
        cache, last = prefilled(target)
        knowing = Knowing(drafter, reply, cache.length)
        knowing.device = device = RoundState(target, knowing)  # type: ignore[arg-type]
        bursts = cuda_graphs.decode(
            device, cache, last, SAMPLINGS["sampled"], FixedDraftLength(4), stop={reply[index]}, limit=TOKENS
        )
        assert said(bursts) == expected
        assert cache.length == PROMPT + len(expected) - 1


def test_the_next_round_is_launched_before_the_last_is_read(
    pair: tuple[Target, Drafter], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, drafter = pair
    order: list[str] = []
    launch, land = RoundState.launch, cuda_graphs.RoundInFlight.land
    monkeypatch.setattr(RoundState, "launch", lambda *arguments: (order.append("launch"), launch(*arguments))[1])
    monkeypatch.setattr(cuda_graphs.RoundInFlight, "land", lambda flight: (order.append("land"), land(flight))[1])
    cache, last = prefilled(target)
    said(
        cuda_graphs.decode(
            RoundState(target, drafter), cache, last, SAMPLINGS["greedy"], FixedDraftLength(1), stop=(), limit=12
        )
    )
    assert order[:5] == ["launch", "launch", "land", "launch", "land"]
    assert order.count("launch") - order.count("land") <= 1, "at most one round is for nothing"


class Copying(FixedDraftLength):
    def choose_copy(self, found: int) -> int:
        return found


def test_copies_are_checked_like_drafts(pair: tuple[Target, Drafter], plains: dict[str, list[int]]) -> None:
    target, drafter = pair
    reply = plains["sampled"]
    context = Lookup([*reply[:20], 3 + (reply[20] == 3), *reply[21:], *range(5, 20)])
    cache, last = prefilled(target)
    bursts = list(
        cuda_graphs.decode(
            *(RoundState(target, drafter), cache, last, SAMPLINGS["sampled"], Copying(1)),
            stop=(),
            limit=TOKENS,
            lookup=context,
        )
    )
    assert said(iter(bursts)) == reply
    copies = [burst.round for burst in bursts if burst.round and burst.round.source == "lookup"]
    assert any(copy.accepted > 0 for copy in copies)
    assert any(copy.accepted < copy.drafted for copy in copies)


def test_made_up_acceptance_is_that_of_decode(pair: tuple[Target, Drafter]) -> None:
    target, drafter = pair
    coins, sampling = SyntheticAcceptance(0.7), SAMPLINGS["greedy"]
    cache, last = prefilled(target)
    there = list(
        decode(
            target, drafter, cache, last, Sampler(sampling), FixedDraftLength(3), stop=(), limit=TOKENS, accept=coins
        )
    )
    cache, last = prefilled(target)
    here = list(
        cuda_graphs.decode(
            RoundState(target, drafter, accept=coins), cache, last, sampling, FixedDraftLength(3), stop=(), limit=TOKENS
        )
    )
    accepted = [[burst.round.accepted for burst in bursts if burst.round] for bursts in (there, here)]
    device = RoundState(target, drafter, accept=coins)
    device.attach(cache, TOKENS, sampling)
    read = device._coins
    device.attach(cache, TOKENS, sampling)
    assert device._coins is read, "recorded graphs would read memory that was given back"
    assert accepted[0][:5] == accepted[1][:5]
    assert max(accepted[0]) == 3


def test_a_model_that_is_broken_is_told(pair: tuple[Target, Drafter], monkeypatch: pytest.MonkeyPatch) -> None:
    target, drafter = pair
    cache, last = prefilled(target)
    run = target.run
    monkeypatch.setattr(Target, "run", lambda self, ids, rows: (run(ids, rows)[0] * torch.nan, run(ids, rows)[1]))
    with pytest.raises(ModelError, match="invalid numbers"):
        said(
            cuda_graphs.decode(
                RoundState(target, drafter),
                cache,
                last,
                SAMPLINGS["greedy"],
                FixedDraftLength(2),
                stop=(),
                limit=TOKENS,
            )
        )


def test_where_recording_fails_the_functions_are_run(
    pair: tuple[Target, Drafter], plains: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, drafter = pair
    device = RoundState(target, drafter)
    device.recorder.records = True  # as on a GPU; here there is nothing that records
    tried: list[int] = []

    def record(*arguments: object) -> None:
        tried.append(1)
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(cuda_graphs.Recorder, "_record", record)
    failure = cuda_graphs.warm_up(device, target.new_cache(BUCKET), SAMPLINGS["greedy"])
    assert failure == "CUDA error: operation not permitted when stream is capturing"
    cache, last = prefilled(target)
    reply = said(
        cuda_graphs.decode(device, cache, last, SAMPLINGS["greedy"], FixedDraftLength(1), stop=(), limit=TOKENS)
    )
    assert reply == plains["greedy"]
    assert len(tried) == 1, "it is tried once"


class Replayed:
    """A graph, as far as a CPU can have one: what was recorded, run again."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.replay = function


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each graph that is recorded."""
    found: list[int] = []

    def record(self: Recorder, function: Callable[[], None], state: Sequence[Tensor]) -> Replayed:
        found.append(1)
        before = [tensor.clone() for tensor in state]
        function()
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        return Replayed(function)

    monkeypatch.setattr(Recorder, "_record", record)
    return found


@pytest.mark.parametrize("name", ["e2b", "26b-a4b"])
def test_no_graph_is_recorded_in_mid_reply(name: str, recorded: list[int], tmp_path: Path) -> None:
    """Those made at load serve the first reply, in the cache that was made then; another kind of sampling records its
    own before it begins. Experts, a bucket's end and every number of drafts are among what is replayed."""
    with kernels_for(WITHOUT):
        target = load_target(shapes.save(shapes.stock_target(name), tmp_path / "target"), CPU, torch.float32)
        drafter = load_drafter(shapes.save(shapes.stock_drafter(name), tmp_path / "drafter"), target)
        if name == "26b-a4b":
            as_stacks(target)
        live = PrefixCache(target)
        device = RoundState(target, drafter)
        device.recorder.records = True
        assert cuda_graphs.warm_up(device, live.provide(3 * BUCKET), SAMPLINGS["sampled"]) is None
        at_load = len(recorded)
        assert at_load >= 6
        for sampling in ("sampled", "greedy"):
            expected = plain(target, SAMPLINGS[sampling])
            cache, _ = live._resume(Prompt(tuple(random_tokens(PROMPT).tolist())), (), TOKENS)
            last = target.prefill(random_tokens(PROMPT), cache)
            policy = Changing()
            bursts = cuda_graphs.decode(device, cache, last, SAMPLINGS[sampling], policy, stop=(), limit=TOKENS)
            tokens, before = list(next(bursts).tokens), len(recorded)
            assert sampling == "greedy" or before == at_load, "what was recorded at load is thrown away"
            assert [*tokens, *said(bursts)] == expected
            assert len(recorded) == before, "a reply waits for a graph"


class Changing(FixedDraftLength):
    """0 to 4 drafts in turn."""

    def __init__(self) -> None:
        super().__init__(4)
        self.turn = iter(range(1000))

    def choose(self) -> int:
        return next(self.turn) % 5


def as_stacks(target: Target) -> None:
    """The same experts as a GPU has them."""
    for layer in target.layers:
        if experts := layer.experts:
            hidden, inner = target.hidden_size, experts.down[0].shape[1]
            gate_up = torch.stack([linear(torch.eye(hidden)).T for linear in experts.gate_up])
            down = torch.stack([linear(torch.eye(inner)).T for linear in experts.down])
            experts.gate_up, experts.down = ExpertStack.of_floats(gate_up), ExpertStack.of_floats(down)


def test_rows_at_places_only_the_device_knows_have_the_same_bits(pair: tuple[Target, Drafter]) -> None:
    """Where the ring wraps and a bucket ends, whichever of the two lengths was thought of."""
    target, _ = pair
    for start in (20, 100, BUCKET - 8, BUCKET - 3, BUCKET + 40):
        cache, _ = prefilled(target, start)
        rows = random_tokens(8, seed=start)
        cache.reserve(8)
        with torch.inference_mode():
            expected = target.run(rows, FewRows(cache, target._masks, target.ropes, start, 8, 8))
            both = (bucket(start), bucket(bucket(start)))
            cache.grow(2 * BUCKET)
            for lengths in {both, both if bucket(start) != bucket(start + 7) else both[:1]}:
                logits, states = target.run(rows, StaticRows(target, cache, torch.tensor([start]), 8, lengths))
                assert torch.equal(logits, expected[0]), (start, lengths)
                assert torch.equal(states, expected[1]), (start, lengths)
