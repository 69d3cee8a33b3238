"""Which of the row counts that agree are run: those that a larger count does not beat."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gemma_cli.engines.local.loading import batch_invariance
from gemma_cli.engines.local.loading.batch_invariance import without_slow
from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.model.row_rule import FIXED, RowRule
from tests.engines.helpers import exactness, shapes

CPU = torch.device("cpu")
ALL = RowRule((2, 3, 4, 5, 8, 16), exact=True)


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        ({2: 1.5, 3: 1.2, 4: 1.0, 5: 1.0, 8: 1.4}, (4, 5, 8, 16)),
        ({2: 1.0, 3: 1.1, 4: 1.2, 5: 1.3, 8: 1.4}, (2, 3, 4, 5, 8, 16)),
        ({2: 1.02, 3: 1.01, 4: 1.01, 5: 1.0, 8: 1.0}, (2, 3, 4, 5, 8, 16)),
        ({2: 1.0, 3: 2.0, 4: 1.1, 5: 1.2, 8: 1.3}, (2, 4, 5, 8, 16)),
        ({2: 2.0, 3: 2.0, 4: 2.0, 5: 2.0, 8: 1.0}, (8, 16)),
        ({}, (2, 3, 4, 5, 8, 16)),
    ],
)
def test_counts_that_a_larger_one_clearly_beats_are_left_out(
    seconds: dict[int, float], counts: tuple[int, ...]
) -> None:
    assert without_slow(ALL, seconds) == RowRule(counts, exact=True)


def test_a_count_takes_its_shortest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run of each is the longest."""
    now, runs = 0.0, 0

    def product(few: Tensor) -> Tensor:
        nonlocal now, runs
        now += few.shape[0] * (2.0 if runs < 2 else 1.0)
        runs += 1
        return few

    monkeypatch.setattr(batch_invariance, "perf_counter", lambda: now)
    assert batch_invariance._seconds(product, torch.ones(FIXED, 1), [2, 5]) == {2: 2.0, 5: 5.0}


def test_a_model_larger_than_the_cache_runs_the_count_that_reads_fastest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says the same to the last bit."""
    folder = shapes.save(shapes.stock_target("e2b"), tmp_path)
    cached = load_target(folder, CPU, torch.float32)
    monkeypatch.setattr(batch_invariance, "last_level_cache", lambda device: 0)
    monkeypatch.setattr(
        batch_invariance, "_seconds", lambda product, few, counts: {count: 1 / (count % FIXED + 1) for count in counts}
    )
    target = load_target(folder, CPU, torch.float32)
    target.set_rows(batch_invariance.measure_rows(target))  # loading takes what was saved for the other one
    assert target.rows.exact
    assert set(target.rows.counts) < set(cached.rows.counts)
    assert target.rows.filled(1) == max(count for count in cached.rows.counts if count < FIXED)
    said = []
    for model in (cached, target):
        cache = model.new_cache()
        model.prefill(exactness.tokens(40), cache)
        said.append([model.verify(token, cache) for token in exactness.tokens(3).split(1)])
    for ours, theirs in zip(*said, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
