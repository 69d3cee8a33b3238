"""The law of the choice: what survives, that the noise is a function, and that rows do not see each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding import sampling as module
from gemma_cli.engines.local.decoding.sampling import Sampler, StaticSampler, _mix, _top_k, _top_p, _uniform, gumbel
from tests.soak.exactness import noise as soak

WIDTH = 37
VOCAB = 262_144
seeds = st.integers(-(2**70), 2**70)
# A coarse grid of logits makes ties at every boundary the rule and not the exception.
rows = st.lists(st.lists(st.integers(-6, 6), min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=9)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 64]),
    top_p=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    seed=seeds,
)


def logits_of(values: list[list[int]]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32) / 2


def mixed(x: int) -> int:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014), from its publication."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def noise_of(seed: int, position: int, token: int) -> float:
    """The noise as it is promised, in Python's numbers and with nothing of the module under test."""
    golden = 0x9E3779B97F4A7C15
    key = mixed((position * golden + mixed(seed % 2**64)) % 2**64)
    bits = mixed((key + token * golden) % 2**64)
    return float(np.float32(-math.log(-math.log(((bits >> 12) + 0.5) * 2.0**-52))))


def test_noise_is_what_it_was_promised_to_be() -> None:
    """Another hash would change the text of every seed. Logarithms may differ by an ulp before they are rounded."""
    for seed in (0, 1, -1, 2**63, 2**70 + 5):
        for position in (0, 1, 255, 262_143):
            ids = [0, 1, 2, 1000, VOCAB - 1]
            found = gumbel(seed, torch.tensor([position]), torch.tensor(ids))[0].tolist()
            assert found == pytest.approx([noise_of(seed, position, one) for one in ids], rel=1e-7, abs=1e-7)


def test_scores_are_divided_in_float64() -> None:
    logits = torch.tensor([[1.0, 1.0 - 2**-24, 0.1, -3.3]])
    scores = Sampler(Sampling(temperature=0.3))._scores(logits, logits[:, :1])
    assert scores.tolist() == [[(value - 1.0) / 0.3 for value in logits[0].tolist()]]


def oracle(logits: list[float], position: int, ids: list[int], sampling: Sampling) -> int:
    """The definition, spelled out over Python numbers."""
    order = sorted(range(len(ids)), key=lambda column: (-logits[column], ids[column]))
    if sampling.temperature == 0:
        return ids[order[0]]
    order = order[: sampling.top_k or len(order)]
    mass = [math.exp((logits[c] - logits[order[0]]) / sampling.temperature) for c in order]
    kept, before = [], 0.0
    for column, weight in zip(order, mass, strict=True):
        if kept and sampling.top_p < 1 and before >= sampling.top_p * math.fsum(mass):
            break
        kept.append(column)
        before += weight
    noise = [noise_of(sampling.seed, position, one) for one in ids]
    return ids[max(kept, key=lambda column: (logits[column] / sampling.temperature + noise[column], -ids[column]))]


@given(rows, samplings, st.integers(0, 300_000))
@settings(max_examples=200, deadline=None)
def test_choice_is_the_definition(values: list[list[int]], sampling: Sampling, start: int) -> None:
    """In every way there is to arrive at it: rows taken one by one, without a look at numbers, through the CPU."""
    logits, positions = logits_of(values), torch.arange(start, start + len(values))
    expected = [oracle(row, start + i, list(range(WIDTH)), sampling) for i, row in enumerate(logits.tolist())]
    assert Sampler(sampling).choose(logits, positions).tolist() == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WIDE", 8)
        assert Sampler(sampling).choose(logits, positions).tolist() == expected
    static = StaticSampler(sampling, (), torch.device("cpu"))
    static.set(sampling)
    assert static.choose(logits, positions).tolist() == expected
    with no_float64():
        assert Sampler(sampling).choose(logits, positions).tolist() == expected


@contextmanager
def no_float64() -> Iterator[None]:
    """As on a device that has to leave the choice to the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "has_float64", lambda device: False)
        yield


@given(rows, samplings, st.integers(0, 1000), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_a_row_does_not_depend_on_company_or_on_the_order_of_columns(
    values: list[list[int]], sampling: Sampling, start: int, random: object
) -> None:
    logits, positions = logits_of(values), torch.arange(start, start + len(values))
    together = Sampler(sampling).choose(logits, positions)
    alone = [Sampler(sampling).choose(logits[i : i + 1], positions[i : i + 1]).item() for i in range(len(values))]
    assert together.tolist() == alone
    columns = list(range(WIDTH))
    random.shuffle(columns)  # type: ignore[attr-defined]
    ids = torch.tensor(columns).expand(len(values), WIDTH)
    assert Sampler(sampling).choose(logits[:, columns], positions, ids).tolist() == alone


@given(seeds, st.integers(0, 10**6), st.lists(st.integers(0, 262_143), min_size=1, max_size=80))
@settings(max_examples=100, deadline=None)
def test_noise_is_a_function_of_seed_position_and_id(seed: int, position: int, ids: list[int]) -> None:
    positions = torch.tensor([position, position + 1])
    both = gumbel(seed, positions, torch.tensor(ids))
    assert torch.equal(both[1:], gumbel(seed, positions[1:], torch.tensor(ids)))
    one = torch.stack([gumbel(seed, positions, torch.tensor([i]))[:, 0] for i in ids], dim=1)
    assert torch.equal(both, one)
    assert torch.isfinite(both).all()


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0, Fraction(1, 2**53)),
        (1 << 12, Fraction(3, 2**53)),
        ((1 << 12) - 1, Fraction(1, 2**53)),
        (2**63 - 1, Fraction(2**52 - 1, 2**53)),
        (-(2**63), Fraction(2**52 + 1, 2**53)),
        (-1, 1 - Fraction(1, 2**53)),
        (-1 << 13, 1 - Fraction(3, 2**53)),
    ],
)
def test_the_uniform_number_lies_inside_and_is_exact(bits: int, expected: Fraction) -> None:
    uniform = _uniform(torch.tensor([bits]))
    assert uniform.dtype == torch.float64
    assert Fraction(uniform.item()) == expected


def test_noise_is_right_at_both_ends_of_its_range() -> None:
    """The ids whose hash is all zeros, all ones and next to them, found by running the hash backwards."""
    seed, position = 3, 11
    parts = [0, 1, 2, 2**28, 2**51, 2**52 - 2**28, 2**52 - 3, 2**52 - 2, 2**52 - 1]
    ids = torch.tensor([[id_with(seed, position, part << 12) for part in parts]])
    noise = gumbel(seed, torch.tensor([position]), ids)
    assert noise.dtype == torch.float64
    # -log(-log(u)) of u = 1 - v, which is exact where v is small.
    rest = [float(1 - (Fraction(part) + Fraction(1, 2)) / 2**52) for part in parts]
    expected = [-math.log(-math.log1p(-v)) if v < 0.5 else -math.log(-math.log(1 - v)) for v in rest]
    assert noise[0].tolist() == pytest.approx(expected, rel=2**-23)
    assert noise.min() < -3.6
    assert noise.max() > 36.7
    assert torch.equal(noise, noise.sort().values)


def id_with(seed: int, position: int, bits: int) -> int:
    """The id that hashes to `bits`."""
    key = _mix(torch.tensor(position) * module._GOLDEN + module.seed_key(seed)).item()
    whole = (unmixed(bits) - key) * pow(module._GOLDEN, -1, 2**64)
    return module._int64(whole)


def unmixed(x: int) -> int:
    """The inverse of sampling._mixed."""
    for shift, factor in ((31, module._SECOND), (27, module._FIRST), (30, 1)):
        x = (x ^ x >> shift ^ x >> 2 * shift) * pow(factor, -1, 2**64) % 2**64
    return x


def test_a_million_draws_are_finite_and_follow_the_law() -> None:
    """`python -m tests.soak noise` draws 2^27."""
    assert not soak.draws(1 << 20).failures


def test_a_whole_vocabulary_follows_the_law() -> None:
    """100 choices among 262,144 ids without top-k or top-p, in sixteen groups of equal mass."""
    assert abs(soak.fit_of_vocabulary(100)) < 4


@pytest.mark.parametrize("top_p", [0.95, 1.0])
def test_a_whole_vocabulary_is_weighed_row_by_row(top_p: float) -> None:
    """No temporary of a choice with top-k 0 holds more than a row, 2 MB: nine rows of a draft would be a hundred."""

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **kwargs or {})
            if isinstance(result, torch.Tensor) and not result._is_view():
                self.size = max(self.size, result.nbytes)
            return result

    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), Largest() as largest:
        Sampler(Sampling(top_k=0, top_p=top_p)).choose(logits, torch.arange(3))
    assert largest.size == 8 * VOCAB


@pytest.mark.parametrize("k", [0, 1, 64, 1000])
@pytest.mark.parametrize("may_wait", [True, False])
def test_top_k_of_a_vocabulary_with_equals(k: int, may_wait: bool) -> None:
    """Against numpy's sort by two keys, on logits that were bfloat16, with zeros of both signs and masked ids."""
    logits = torch.randn(2, VOCAB, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    logits[0, :1000], logits[0, 1000:2000], logits[1, ::3] = -0.0, 0.0, -torch.inf
    found, ids = _top_k(logits, None, k, may_wait)
    for row in range(2):
        order = np.lexsort((np.arange(VOCAB), -logits[row].numpy()))[: k or VOCAB]
        assert ids[row].tolist() == order.tolist()
        assert torch.equal(found[row], logits[row][order])


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
NOT_NUMBERS = [math.nan, np.array(0xFFC00000, np.uint32).view(np.float32).item()]


@given(
    st.lists(st.one_of(numbers, st.just(-math.inf)), min_size=WIDTH - 1, max_size=WIDTH - 1),
    numbers,
    st.builds(
        Sampling,
        temperature=st.one_of(st.just(0.0), st.floats(0, 1e308, exclude_min=True)),
        top_k=st.sampled_from([0, 1, 5, 36, 64]),
        top_p=st.floats(0, 1),
        seed=seeds,
    ),
    st.sampled_from(NOT_NUMBERS),
    st.integers(0, WIDTH - 1),
)
@settings(max_examples=100, deadline=None)
def test_a_choice_fails_on_what_is_not_a_number_and_on_nothing_else(
    values: list[float], finite: float, sampling: Sampling, broken: float, place: int
) -> None:
    logits, position = torch.tensor([[*values, finite]]), torch.tensor([7])
    static = StaticSampler(sampling, (), torch.device("cpu"))
    static.set(sampling)
    for sampler in (Sampler(sampling), static):
        chosen = sampler.choose(logits, position).item()
        assert chosen >= 0
        assert math.isfinite(logits[0, int(chosen)])
        spoilt = logits.clone()
        spoilt[0, place] = broken
        assert sampler.choose(spoilt, position).tolist() == [-1]


def test_noise_is_gumbel_and_uncorrelated_between_neighbours() -> None:
    positions, ids = torch.arange(300), torch.arange(300)
    noise = gumbel(7, positions, ids)
    uniform = torch.exp(-torch.exp(-noise)).flatten().sort().values
    steps = torch.arange(1, uniform.numel() + 1) / uniform.numel()
    assert (uniform - steps).abs().max() < 1.95 / math.sqrt(uniform.numel())  # Kolmogorov-Smirnov at 0.1 %
    for other in (gumbel(8, positions, ids), gumbel(7, positions + 1, ids), gumbel(7, positions, ids + 1)):
        correlation = torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1].item()
        assert abs(correlation) < 4 / math.sqrt(noise.numel())


@pytest.mark.parametrize("top_p", [0.3, 0.95])
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(50, 64, dtype=torch.float64).sort(-1, descending=True).values
    kept = torch.isfinite(_top_p(scores, top_p))
    mass = torch.softmax(scores, -1)
    total = (mass * kept).sum(-1)
    last = mass.gather(-1, kept.sum(-1, keepdim=True) - 1)[:, 0]
    assert (total >= top_p - 1e-9).all()
    assert (total - last < top_p).all()


def test_top_k_takes_the_lowest_ids_among_equals() -> None:
    logits = torch.tensor([[1.0, 3.0, 1.0, 1.0, 2.0, 1.0]])
    kept, ids = _top_k(logits, None, 4)
    assert ids.tolist() == [[1, 4, 0, 2]]
    assert kept.tolist() == [[3.0, 2.0, 1.0, 1.0]]


def test_survivors_are_those_of_transformers() -> None:
    """Same temperature, top-k, top-p as stock generation; without ties, which it keeps beyond k."""
    from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    torch.manual_seed(0)
    logits = torch.randn(200, 500) * 3
    stock = TemperatureLogitsWarper(0.7)(None, logits)
    stock = TopPLogitsWarper(0.95)(None, TopKLogitsWarper(64)(None, stock))
    ours, ids = _top_k(logits, None, 64)
    ours = _top_p(ours.double() / 0.7, 0.95)
    for row in range(len(logits)):
        assert set(ids[row][torch.isfinite(ours[row])].tolist()) == set(
            torch.isfinite(stock[row]).nonzero().flatten().tolist()
        )


def test_choices_follow_the_law() -> None:
    """20,000 seeds against the exact probabilities: chi-square within four standard deviations."""
    logits = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0, -3.0]])
    scores = _top_p(_top_k(logits, None, 5)[0].double() / 0.8, 0.97)[0]
    law = torch.softmax(scores, -1)
    draws = 20_000
    counts = torch.zeros(6)
    for seed in range(draws // 100):
        rows = Sampler(Sampling(0.8, 5, 0.97, seed=seed)).choose(logits.expand(100, -1), torch.arange(100))
        counts += torch.bincount(rows, minlength=6)
    assert counts[5] == 0
    expected = law * draws
    alive = expected > 0
    chi = ((counts[:5][alive] - expected[alive]) ** 2 / expected[alive]).sum().item()
    freedom = int(alive.sum()) - 1
    assert (chi - freedom) / math.sqrt(2 * freedom) < 4


def test_suppressed_ids_are_never_chosen() -> None:
    logits = torch.tensor([[9.0, 1.0, 8.0]])
    for temperature in (0.0, 1.0):
        sampler = Sampler(Sampling(temperature=temperature), suppress=(0, 2))
        assert sampler.choose(logits, torch.tensor([5])).tolist() == [1]
        shortlist = torch.tensor([[2, 0, 1]])
        assert sampler.choose(logits[:, [2, 0, 1]], torch.tensor([5]), shortlist).tolist() == [1]
        assert sampler.guess(logits[:, [2, 0, 1]], torch.tensor([5]), shortlist).tolist() == [1]


@given(st.lists(st.integers(-6, 6), min_size=WIDTH, max_size=WIDTH), samplings, st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_guess_is_the_choice_but_for_ties_and_always_an_id(
    values: list[int], sampling: Sampling, broken: bool
) -> None:
    logits, ids, position = logits_of([values]), torch.arange(WIDTH).flip(0)[None] + 100, torch.tensor([3])
    if broken:
        logits[0, 5] = math.nan
    guessed = Sampler(sampling).guess(logits, position, ids).item()
    chosen = Sampler(sampling).choose(logits, position, ids).item()
    if broken:
        assert guessed in ids[0] or guessed == max(chosen, 0) == 0
    elif sampling.temperature:
        assert guessed == chosen
    else:
        assert logits[0, ids[0].tolist().index(guessed)] == max(logits[0])


def test_min_p_spares_sorting_the_whole_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(4, 5000, generator=torch.Generator().manual_seed(2)) * 4
    positions = torch.arange(4)
    sampling = Sampling(top_k=0, top_p=0.9, min_p=0.02, seed=9)
    plain = StaticSampler(sampling, (), torch.device("cpu"))  # which sorts all of it
    plain.set(sampling)
    expected = plain.choose(logits, positions)
    columns = []
    top_k = module._top_k

    def counted(logits: torch.Tensor, ids: torch.Tensor | None, k: int, may_wait: bool) -> object:
        columns.append(k)
        return top_k(logits, ids, k, may_wait)

    monkeypatch.setattr(module, "_top_k", counted)
    assert Sampler(sampling).choose(logits, positions).equal(expected)
    likely = (logits.double() - logits.amax(-1, keepdim=True)).exp() >= 0.02
    assert columns == [int(likely.sum(-1).amax())]
