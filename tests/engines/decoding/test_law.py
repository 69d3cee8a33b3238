"""Replies follow the target's law exactly, drafted or not; and the test that says so can tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gemma_cli.engines.local.decoding import decode, sampling
from gemma_cli.engines.local.model.cache import Cache
from tests.engines.helpers import law

FITS = 4.0
"""|z| beyond this happens once in some ten thousand runs of the right law; seeds are fixed, so it happens never."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> law.Models:
    torch.set_num_threads(1)
    return law.build(tmp_path_factory.mktemp("law"))


@pytest.fixture(scope="module")
def exact(models: law.Models) -> dict[law.Reply, float]:
    return law.exact_law(models.stock)


def test_the_law_is_a_law(exact: dict[law.Reply, float]) -> None:
    assert sum(exact.values()) == pytest.approx(1)
    assert len(exact) > 100


def test_our_replies_follow_it(models: law.Models, exact: dict[law.Reply, float]) -> None:
    assert abs(law.fit(law.draw(models, range(400)), exact).z) < FITS


@pytest.mark.slow
def test_stock_assisted_sampling_does_not(models: law.Models, exact: dict[law.Reply, float]) -> None:
    """generate(assistant_model=...) accepts arg-max drafts as if they had been sampled: it says the likely too often.
    If this fails, transformers was mended, and the comparison in docs/decoding.md is out of date."""
    assert law.fit(law.draw_stock(models, range(150)), exact).z > 2 * FITS


def noise_without_position(patch: pytest.MonkeyPatch) -> None:
    real = sampling.gumbel
    patch.setattr(sampling, "gumbel", lambda seed, positions, ids: real(seed, positions * 0, ids))


def noise_of_the_position_before(patch: pytest.MonkeyPatch) -> None:
    def verify(target: Any, cache: Cache, token: torch.Tensor, drafts: torch.Tensor, sampler: Any, *_: Any) -> Any:
        rows = torch.cat([token, drafts])
        logits, states = target.verify(rows, cache)
        return sampler.choose(logits, torch.arange(len(rows)) + cache.length - len(rows)), states

    patch.setattr(decode, "verify", verify)


def one_draft_too_many(patch: pytest.MonkeyPatch) -> None:
    def settle(drafts: torch.Tensor, choices: torch.Tensor, *_: Any) -> tuple[list[int], int]:
        drafted, chosen = drafts.tolist(), choices.tolist()
        return [*drafted[:1], *chosen[len(drafted[:1]) :][:1]], len(drafted[:1])

    patch.setattr(decode, "_settle", settle)


def a_rejected_row_kept(patch: pytest.MonkeyPatch) -> None:
    real, start = Cache.rollback, len(law.PROMPT)
    patch.setattr(
        Cache,
        "rollback",
        lambda self, length: real(self, length if length == start else min(length + 1, self.length)),
    )


def no_temperature(patch: pytest.MonkeyPatch) -> None:
    real = sampling.Sampler.__init__

    def init(self: Any, settings: Any, suppress: Any = ()) -> None:
        real(self, law.replace(settings, temperature=1.0), suppress)

    patch.setattr(sampling.Sampler, "__init__", init)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mistake",
    [noise_without_position, noise_of_the_position_before, one_draft_too_many, a_rejected_row_kept, no_temperature],
)
def test_mistakes_are_found(
    models: law.Models, exact: dict[law.Reply, float], monkeypatch: pytest.MonkeyPatch, mistake: Any
) -> None:
    mistake(monkeypatch)
    assert law.fit(law.draw(models, range(400)), exact).z > 2 * FITS
