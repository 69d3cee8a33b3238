"""Our forward against stock transformers, and against itself: a row's bits do not depend on how decoding was cut."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from gemma_cli.engines.local.loading.batch_invariance import MOST, TRIED, _cancelling, agreeing
from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.model.cache import BUCKET, Cache
from gemma_cli.engines.local.model.layers.activation import gelu
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.layers.moe import Experts
from gemma_cli.engines.local.model.row_rule import UNMEASURED, RowRule
from gemma_cli.engines.local.model.target import Target, chunks
from tests.engines.helpers import exactness, shapes
from tests.engines.helpers.kernels import WITHOUT, kernels_for

CPU = torch.device("cpu")
ROUNDING = 5e-5  # of values of up to 30 (logits) and about 1 (hidden states, keys)


@pytest.fixture(scope="module", params=[*shapes.NAMES, "e2b" + WITHOUT, "26b-a4b" + WITHOUT])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Target]]:
    """A stock model and ours, read from the checkpoint the stock one wrote."""
    torch.set_num_threads(1)
    with kernels_for(request.param) as name:
        stock = shapes.stock_target(name)
        folder = shapes.save(stock, tmp_path_factory.mktemp(name))
        yield stock, load_target(folder, CPU, torch.float32)


@torch.inference_mode()
def stock_forward(stock: Any, ids: Tensor, **media: Any) -> tuple[Tensor, Tensor, Any]:
    out = stock(input_ids=ids[None], output_hidden_states=True, use_cache=True, **media)
    return out.logits[0], out.hidden_states[-1][0], out.past_key_values


def assert_same_keys(target: Target, cache: Cache, stock_cache: Any) -> None:
    """The keys and values our cache holds, against those stock kept (in sliding layers the last few)."""
    for index in cache.layers:
        layer = stock_cache.layers[index]
        kept = layer.keys.shape[2]
        keys, values = cache.layers[index].span(cache.length - kept, cache.length)
        torch.testing.assert_close(keys, layer.keys[0], atol=ROUNDING, rtol=0)
        torch.testing.assert_close(values, layer.values[0], atol=ROUNDING, rtol=0)


def test_equals_stock_past_the_window(pair: tuple[Any, Target]) -> None:
    stock, target = pair
    ids = exactness.tokens(150)
    logits, hidden, stock_cache = stock_forward(stock, ids)
    cache = target.new_cache()
    got = target.prefill(ids[:100], cache, chunk=40)
    torch.testing.assert_close(got, (logits[99:100], hidden[99:100]), atol=ROUNDING, rtol=0)
    got = target.verify(ids[100:105], cache)
    torch.testing.assert_close(got, (logits[100:105], hidden[100:105]), atol=ROUNDING, rtol=0)
    got = target.verify(ids[105:], cache)
    torch.testing.assert_close(got, (logits[105:], hidden[105:]), atol=ROUNDING, rtol=0)
    assert cache.length == 150
    assert_same_keys(target, cache, stock_cache)


def test_logits_are_soft_capped_float32(pair: tuple[Any, Target]) -> None:
    _, target = pair
    logits, hidden = target.prefill(exactness.tokens(5), target.new_cache())
    assert logits.shape == (1, shapes.VOCAB)
    assert hidden.shape == (1, target.hidden_size)
    assert logits.dtype == torch.float32
    assert logits.abs().max() < 30


def picture_prompt() -> tuple[Tensor, Tensor, Tensor]:
    """ids, image blocks, features: text, a picture longer than the window, text, a sound, a small picture, text."""
    text = exactness.tokens(200)
    rows: list[tuple[Tensor, int]] = [(text[:11], -1), (torch.full((40,), shapes.IMAGE), 0), (text[11:30], -1)]
    rows += [(torch.full((9,), shapes.AUDIO), -1), (text[30:33], -1), (torch.full((6,), shapes.IMAGE), 1)]
    rows += [(text[33:50], -1)]
    ids = torch.cat([ids for ids, _ in rows])
    blocks = torch.cat([torch.full((len(ids),), block) for ids, block in rows])
    features = torch.randn(55, 64, generator=torch.Generator().manual_seed(3)) * 5
    return ids, blocks, features


def test_pictures_and_sounds_equal_stock(pair: tuple[Any, Target]) -> None:
    stock, target = pair
    ids, blocks, features = picture_prompt()
    image, sound = ids == shapes.IMAGE, ids == shapes.AUDIO
    soft = image | sound
    merged = torch.zeros(len(ids), 64)
    merged[soft] = features
    kinds = torch.where(image, 1, torch.where(sound, 3, 0))
    outputs = {"image": BaseModelOutputWithPooling(pooler_output=(merged[image],))}
    # Stock takes ready image features but no ready sounds: pass those off as a video's, which are merged alike.
    stock_ids = ids.masked_fill(sound, shapes.VIDEO)
    outputs["video"] = BaseModelOutputWithPooling(pooler_output=(merged[sound],))
    logits, hidden, stock_cache = stock_forward(
        stock, stock_ids, mm_encoder_outputs=outputs, mm_token_type_ids=kinds[None]
    )
    for chunk in (512, 16):
        cache = target.new_cache()
        got = target.prefill(ids, cache, features=features, feature_mask=soft, image_blocks=blocks, chunk=chunk)
        torch.testing.assert_close(got, (logits[-1:], hidden[-1:]), atol=ROUNDING, rtol=0)
        assert_same_keys(target, cache, stock_cache)


def test_image_rows_see_each_other_where_the_config_says_so(pair: tuple[Any, Target]) -> None:
    _, target = pair
    ids, blocks, features = picture_prompt()
    soft = (ids == shapes.IMAGE) | (ids == shapes.AUDIO)
    both = [
        target.prefill(ids, target.new_cache(), features=features, feature_mask=soft, image_blocks=given)[0]
        for given in (blocks, None)
    ]
    assert torch.equal(*both) == (target.arch.vision_mask == "causal")


@pytest.mark.parametrize("size", [1, 3, 4, 5, 100])
def test_no_pass_cuts_an_image(size: int) -> None:
    blocks = torch.tensor([-1, -1, 0, 0, 0, 0, 0, 0, -1, 1, 1, -1, -1])
    passes = list(chunks(len(blocks), size, blocks))
    assert [first for first, _ in passes[1:]] == [stop for _, stop in passes[:-1]]
    assert (passes[0][0], passes[-1][1]) == (0, len(blocks))
    for first, _ in passes[1:]:
        assert blocks[first] == -1 or blocks[first] != blocks[first - 1]
    assert list(chunks(7, 3, None)) == [(0, 3), (3, 6), (6, 7)]


def test_a_rows_bits_do_not_depend_on_the_cut(pair: tuple[Any, Target]) -> None:
    """One token at a time, in blocks, and with wrong drafts rolled back, across the window and a bucket's end."""
    _, target = pair
    assert target.rows.exact
    assert exactness.differing(target, 60) == {}
    assert exactness.differing(target, BUCKET + 30, prompt=BUCKET - 30, cuts=("2", "drafted")) == {}


@pytest.mark.slow
def test_a_rows_bits_do_not_depend_on_any_cut(pair: tuple[Any, Target]) -> None:
    assert exactness.differing(pair[1], BUCKET + 44) == {}


@pytest.mark.slow
def test_bits_do_not_depend_on_the_cut_in_bfloat16() -> None:
    """In a process of its own: some virtual machines die of bfloat16 unless oneDNN is told before it starts."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.engines.helpers.exactness", "bfloat16"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_after_a_rollback_it_is_as_if_nothing_had_been_drafted(pair: tuple[Any, Target]) -> None:
    _, target = pair
    ids = exactness.tokens(140)
    plain, drafted = target.new_cache(), target.new_cache()
    for cache in (plain, drafted):
        target.prefill(ids[:120], cache)
    target.verify(exactness.tokens(16, seed=9), drafted)
    drafted.rollback(120)
    for first in range(120, 140, 5):
        ours, theirs = target.verify(ids[first : first + 5], drafted), target.verify(ids[first : first + 5], plain)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_a_restored_snapshot_continues_the_same(pair: tuple[Any, Target]) -> None:
    _, target = pair
    ids = exactness.tokens(200)
    cache = target.new_cache()
    target.prefill(ids[:60], cache)
    snapshot = cache.snapshot()
    first = target.verify(ids[60:66], cache)
    target.prefill(exactness.tokens(110, seed=5), cache)
    cache.restore(snapshot)
    assert cache.length == 60
    again = target.verify(ids[60:66], cache)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_more_rows_than_were_measured_go_through_in_several_passes(pair: tuple[Any, Target]) -> None:
    _, target = pair
    ids = exactness.tokens(MOST * 2 + 13)
    cache = target.new_cache()
    target.prefill(ids[:10], cache)
    logits, hidden = target.verify(ids[10:], cache)
    assert logits.shape[0] == hidden.shape[0] == MOST * 2 + 3
    assert cache.length == len(ids)


def test_rows_that_fill_up_a_pass_read_no_experts(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shapes.save(shapes.stock_target("26b-a4b"), tmp_path_factory.mktemp("moe"))
    target = load_target(folder, CPU, torch.float32)
    target.set_rows(RowRule((4,), exact=True))
    cache = target.new_cache()
    target.prefill(exactness.tokens(40), cache)
    ran: list[int] = []
    run = Experts._run
    monkeypatch.setattr(Experts, "_run", lambda self, expert, x: ran.append(expert) or run(self, expert, x))
    target.verify(exactness.tokens(1), cache)
    assert len(ran) == 3 * len(target.layers)
    ran.clear()
    target.verify(exactness.tokens(4), cache)
    assert len(ran) > 3 * len(target.layers)


@pytest.mark.parametrize("width", [16, 24, 64, 192])
def test_gelu_is_the_tanh_approximation_and_knows_no_neighbours(width: int) -> None:
    rows = torch.randn(12, width, generator=torch.Generator().manual_seed(0)) * 3
    whole = gelu(rows)
    torch.testing.assert_close(whole, torch.nn.functional.gelu(rows, approximate="tanh"), atol=1e-6, rtol=1e-5)
    for first in range(12):
        for stop in range(first + 1, 13):
            assert torch.equal(gelu(rows[first:stop].clone()), whole[first:stop])


def library(special: Callable[[int, int], bool]) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A stand-in for a matrix library with two kernels, and rows to try it on: where special(row, rows), a row is
    summed the other way round."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 8, generator=generator)
    _, rows = _cancelling(
        Linear(weight), torch.randn(8, 16, generator=generator), torch.randn(MOST, 16, generator=generator), generator
    )

    def product(x: Tensor) -> Tensor:
        sums = []
        for place, row in enumerate(x):
            terms = (row[:, None] * weight).numpy()
            sums.append(sum(terms[::-1] if special(place, len(x)) else terms))
        return torch.tensor(numpy.stack(sums))

    return product, rows


@pytest.mark.parametrize(
    ("special", "rule"),
    [
        (lambda place, rows: False, RowRule(TRIED, exact=True)),
        (lambda place, rows: rows < 4, RowRule((4, 5, 6, 7, 8, 9, 12, 16), exact=True)),
        (lambda place, rows: place >= rows - rows % 4, RowRule((4, 8, 12, 16), exact=True)),
        (lambda place, rows: rows > 9, RowRule((2, 3, 4, 5, 6, 7, 8), exact=True)),
        (lambda place, rows: rows == 9, RowRule((2, 3, 4, 5, 6, 7, 8, 12, 16), exact=True)),
        (lambda place, rows: place >= 8, RowRule((2, 3, 4, 5, 6, 7, 8), exact=True)),
        (lambda place, rows: place == 0, UNMEASURED),
    ],
)
def test_row_counts_that_agree_are_found(special: Callable[[int, int], bool], rule: RowRule) -> None:
    assert agreeing([library(special)]) == rule


def test_all_products_must_agree() -> None:
    products = [library(lambda place, rows: rows < 4), library(lambda place, rows: rows % 2 == 1)]
    assert agreeing(products) == RowRule((4, 6, 8, 12, 16), exact=True)


def test_a_pass_is_filled_to_the_next_count() -> None:
    rule = RowRule((4, 8, 12), exact=True)
    assert [rule.filled(rows) for rows in (1, 4, 5, 12, 13, 16)] == [4, 4, 8, 12, 16, 16]
    assert rule.most == 12


def test_cancelling_products_are_rounding_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    product, rows = _cancelling(Linear(torch.ones(8, 32)), torch.randn(8, 16), torch.randn(MOST, 16), generator)
    assert rows.shape == (MOST, 32)
    assert 0 < product(rows).abs().max() < 1e-4


def test_many_rows_go_to_tiles_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a processor with AMX: the same product from another kernel, in prefill only."""
    product = Linear(torch.randn(48, 64, generator=torch.Generator().manual_seed(0)).bfloat16())
    rows = torch.randn(40, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    ours = product(rows)
    monkeypatch.setattr("gemma_cli.engines.local.model.layers.linear.has_tiles", lambda: True)
    torch.testing.assert_close(product(rows), ours, atol=0.05, rtol=0.01)
    assert torch.equal(product(rows[:16]), ours[:16])
