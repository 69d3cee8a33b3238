"""Which drafts are kept: those the target would have chosen, or, for synthetic models, those a coin keeps."""

from __future__ import annotations

import pytest

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import UsageError
from gemma_cli.engines.local.decoding.accept import SyntheticAcceptance, equal
from gemma_cli.engines.local.opening import open_local


def test_drafts_are_kept_up_to_the_first_wrong_one() -> None:
    assert equal([5, 6, 7], [5, 6, 7, 8], 0) == 3
    assert equal([5, 9, 7], [5, 6, 7, 8], 0) == 1
    assert equal([], [5], 0) == 0


def test_coins_keep_their_share_and_belong_to_a_position() -> None:
    coins = SyntheticAcceptance(0.8)
    kept = [coins([0], [1, 1], position) for position in range(5000)]
    assert sum(kept) / len(kept) == pytest.approx(0.8, abs=0.03)  # five standard deviations
    for position in range(100):
        together = coins([0] * 4, [1] * 5, position)
        assert together == [*kept[position : position + 4], 0].index(0)
    assert SyntheticAcceptance(0.8, seed=1)([0] * 50, [1] * 51, 0) != coins([0] * 50, [1] * 51, 0)
    assert (SyntheticAcceptance(0.0)([0], [0, 0], 0), SyntheticAcceptance(1.0)([0] * 9, [1] * 10, 0)) == (0, 9)


def test_a_real_model_is_not_given_an_acceptance() -> None:
    with pytest.raises(UsageError, match="synthetic"):
        open_local(EngineSpec("pocket", synthetic_acceptance=0.8))
