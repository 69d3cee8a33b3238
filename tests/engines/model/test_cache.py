"""Rings and buffers against a plain dictionary of positions."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.engines.local.model.attention import Masks
from gemma_cli.engines.local.model.cache import BUCKET, FINE, SLACK, Cache, Slots, bucket, bucket_before
from gemma_cli.engines.local.model.schema.architecture import LayerShape
from tests.engines.helpers.faults import OutOfMemoryAt, interrupted_at

CPU = torch.device("cpu")
WINDOW = 12


def layer(index: int, *, sliding: bool, source: int | None = None) -> LayerShape:
    return LayerShape(index, sliding, 4, 2, 3, 8, index if source is None else source, value_is_key=False)


def new_cache(capacity: int = 0) -> Cache:
    """A sliding layer 0, a full layer 1, and layer 2, which reads layer 0's keys."""
    layers = (layer(0, sliding=True), layer(1, sliding=False), layer(2, sliding=True, source=0))
    return Cache(layers, WINDOW, CPU, torch.float32, capacity)


def rows(first: int, count: int, mark: float = 0.0) -> torch.Tensor:
    """Rows that tell their position: [count, 2 heads, 3], all equal to position + mark."""
    return (torch.arange(first, first + count) + mark)[:, None, None].expand(count, 2, 3)


def write(cache: Cache, count: int, mark: float = 0.0, valid: int | None = None) -> None:
    """As a target pass does: store `count` rows in every layer that owns keys, call `valid` of them good."""
    cache.reserve(count)
    for slots in cache.layers.values():
        slots.write(cache.length, rows(cache.length, count, mark), rows(cache.length, count, mark + 0.5))
    cache.advance(count if valid is None else valid)


def assert_holds(cache: Cache, marks: dict[int, float]) -> None:
    """Every position a next row may see holds what was last written there."""
    for slots, oldest in ((cache.layers[0], max(0, cache.length - WINDOW + 1)), (cache.layers[1], 0)):
        keys, values = slots.span(oldest, cache.length)
        expected = torch.tensor([position + marks[position] for position in range(oldest, cache.length)])
        assert torch.equal(keys[1, :, 2], expected)
        assert torch.equal(values[0, :, 0], expected + 0.5)


def test_only_layers_that_own_keys_have_any() -> None:
    assert sorted(new_cache().layers) == [0, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_any_history_of_passes_and_rollbacks_keeps_what_counts(seed: int, passes: int) -> None:
    chance = random.Random(seed)
    cache, marks = new_cache(), {}
    for turn in range(passes):
        mark = turn / 128
        count = chance.randint(1, 16)
        marks |= dict.fromkeys(range(cache.length, cache.length + count), mark)
        write(cache, count, mark, valid=chance.randint(1, count))
        if chance.random() < 0.7:
            oldest = max(0, cache._high - SLACK)
            cache.rollback(chance.randint(min(oldest, cache.length), cache.length))
        assert_holds(cache, marks)


def test_a_full_layer_grows_and_keeps_its_rows() -> None:
    cache = new_cache()
    for _ in range(60):
        write(cache, 16)
    assert cache.capacity >= 960
    assert cache.capacity % BUCKET == 0
    assert_holds(cache, dict.fromkeys(range(960), 0.0))


def test_room_asked_for_is_made_at_once() -> None:
    assert new_cache(1000).capacity == 1024
    assert new_cache(1000).layers[0].slots == WINDOW + SLACK


@pytest.mark.parametrize("fault", ["memory", "interrupt"])
def test_growth_that_fails_anywhere_leaves_the_cache_as_it_was(fault: str) -> None:
    """A sliding layer, and three full ones, of which some have grown when there is no memory for the next."""
    shapes = (layer(0, sliding=True), *(layer(index, sliding=False) for index in (1, 2, 3)))
    failed = 0
    for at in range(1, 80):
        cache = Cache(shapes, WINDOW, CPU, torch.float32, BUCKET)
        for _ in range(6):
            write(cache, 41)
        try:
            with OutOfMemoryAt(at) if fault == "memory" else interrupted_at(at):
                cache.grow(BUCKET)
        except (RuntimeError, KeyboardInterrupt):
            failed += 1
        assert all(cache.layers[index].slots >= cache.capacity for index in (1, 2, 3))
        write(cache, 40)  # into positions that only a cache which has grown has
        for slots in cache.layers.values():
            assert slots.keys.shape == slots.values.shape
            start = max(0, cache.length - WINDOW) if slots.slots < BUCKET else 0
            for stored, mark in zip(slots.span(start, cache.length), (0.0, 0.5), strict=True):
                assert torch.equal(stored.transpose(0, 1), rows(start, cache.length - start, mark))
    assert failed >= 6, "the keys and the values of three layers"


@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_cache_can_be_written_to_in_either_mode_whichever_it_was_made_in(modes: list[bool]) -> None:
    def step(index: int) -> torch.inference_mode:
        return torch.inference_mode(modes[index])

    with step(0):
        cache = new_cache()
    with step(1):
        write(cache, 20)
    with step(2):
        snapshot = cache.snapshot()
    with step(3):
        write(cache, 30, mark=100.0)  # the full layer may have grown
        cache.grow(2 * BUCKET)
    with step(4):
        cache.restore(snapshot)
    with step(5):
        write(cache, 5)
        assert torch.equal(cache.layers[0].span(13, 25)[0].transpose(0, 1), rows(13, 12))


def test_rolling_back_further_than_the_ring_remembers_is_refused() -> None:
    cache = new_cache()
    for _ in range(20):
        write(cache, 16)
    for length in (321, 320 - SLACK - 1, -1):
        with pytest.raises(ValueError, match="cannot roll back"):
            cache.rollback(length)
    cache.rollback(320 - SLACK)
    with pytest.raises(ValueError, match="cannot roll back"):
        cache.rollback(320 - SLACK - 1)


def test_rows_written_but_not_valid_count_against_the_slack() -> None:
    cache = new_cache()
    for _ in range(10):
        write(cache, 16)
    write(cache, 8, valid=1)
    with pytest.raises(ValueError, match="cannot roll back"):
        cache.rollback(168 - SLACK - 1)
    cache.rollback(168 - SLACK)


def test_a_pass_that_was_broken_off_is_not_built_upon() -> None:
    """It wrote over keys that the rows after `length` would see."""
    cache = new_cache()
    write(cache, 16)
    snapshot = cache.snapshot()
    cache.reserve(SLACK + WINDOW)
    for wrong in (lambda: cache.reserve(1), lambda: cache.rollback(16)):
        with pytest.raises(ValueError, match=r"an interrupted pass|cannot roll back"):
            wrong()
    cache.restore(snapshot)
    write(cache, 16)
    assert_holds(cache, dict.fromkeys(range(32), 0.0))


def test_a_snapshot_brings_the_ring_back() -> None:
    cache = new_cache()
    for _ in range(3):
        write(cache, 16)
    snapshot = cache.snapshot()
    assert snapshot.nbytes == 2 * 4 * 2 * (WINDOW + SLACK) * 3
    for _ in range(10):
        write(cache, 16, mark=0.25)
    assert cache.can_restore(snapshot)
    cache.restore(snapshot)
    assert cache.length == 48
    assert_holds(cache, dict.fromkeys(range(48), 0.0))
    write(cache, 5, mark=0.125)
    assert_holds(cache, dict.fromkeys(range(48), 0.0) | dict.fromkeys(range(48, 53), 0.125))
    cache.rollback(40)
    assert_holds(cache, dict.fromkeys(range(40), 0.0))


def test_a_snapshot_ends_with_the_rows_it_stands_on() -> None:
    cache = new_cache()
    write(cache, 16)
    early = cache.snapshot()
    write(cache, 16)
    late = cache.snapshot()
    cache.rollback(20)
    assert cache.can_restore(early)
    assert not cache.can_restore(late)
    with pytest.raises(ValueError, match="overwritten"):
        cache.restore(late)
    with pytest.raises(ValueError, match="overwritten"):
        new_cache().restore(early)


def test_restoring_an_early_snapshot_ends_the_later_ones() -> None:
    cache = new_cache()
    write(cache, 16)
    early = cache.snapshot()
    write(cache, 16)
    late = cache.snapshot()
    cache.restore(early)
    assert cache.can_restore(early)
    assert not cache.can_restore(late)


def test_a_span_is_a_view_unless_the_ring_wraps_in_it() -> None:
    slots = Slots.empty(layer(0, sliding=True), 10, CPU, torch.float32)
    slots.write(0, rows(0, 10), rows(0, 10))
    slots.write(10, rows(10, 3), rows(10, 3))
    assert slots.span(10, 13)[0].data_ptr() == slots.keys.data_ptr()
    assert slots.span(7, 13)[0][0, :, 0].tolist() == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("start", [0, 1, WINDOW - 2, WINDOW - 1, WINDOW, 75, 76, 77, 500])
def test_ring_masks_show_the_window_and_nothing_else(start: int) -> None:
    """Slot by slot, against the positions a slot holds after `start + rows` were written."""
    slots = WINDOW + SLACK
    masks = Masks(WINDOW, slots, CPU)
    count = 7
    mask = masks.ring(start, count)[:, 0]
    holds = {position % slots: position for position in range(start + count)}
    for row in range(count):
        for slot in range(slots):
            position = holds.get(slot)
            seen = position is not None and start + row - WINDOW < position <= start + row
            assert (mask[row, slot] == 0) == seen


@pytest.mark.parametrize("start", [0, 3, BUCKET - 4, BUCKET - 1, 4 * BUCKET - 4, FINE - 3, 3 * FINE - 5])
def test_bucket_masks_are_causal_in_either_bucket(start: int) -> None:
    masks = Masks(WINDOW, WINDOW + SLACK, CPU)
    first = bucket(start)
    for keys in (first, bucket(first)):
        mask = masks.last_bucket(start, 7, keys)[:, 0]
        for row in range(7):
            position = start + row
            if bucket(position) == keys:
                seen = torch.arange(keys - mask.shape[1], keys) <= position
                assert torch.equal(mask[row] == 0, seen)
                assert position >= keys - mask.shape[1], "what the mask leaves out is seen"
        assert not torch.isnan(mask).any()


@given(st.integers(0, 1 << 18))
def test_buckets_are_few_and_hold_their_positions(position: int) -> None:
    length = bucket(position)
    assert bucket_before(length) <= position < length
    assert length % BUCKET == 0
    assert length <= max(BUCKET, 2 * position if length <= FINE else 1.25 * position + 1)
    assert bucket(length - 1) == length, "a capacity that holds a bucket is one"
    assert bucket_before(length) == 0 or bucket(bucket_before(length) - 1) == bucket_before(length)
