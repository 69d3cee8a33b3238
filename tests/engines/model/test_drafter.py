"""Our drafter step against the stock drafters, both classes, both heads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gemma_cli.engines.local.loading.load import load_drafter, load_target
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import DraftContext, Drafter
from gemma_cli.engines.local.model.layers.linear import Norm, OneRowNorm
from gemma_cli.engines.local.model.target import Target
from tests.engines.helpers import exactness, shapes
from tests.engines.helpers.kernels import WITHOUT, kernels_for

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[*shapes.NAMES, "12b with centroids", "e2b" + WITHOUT, "12b" + WITHOUT])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any, Target, Drafter]]:
    """Stock target and drafter, and ours from what they saved."""
    torch.set_num_threads(1)
    with kernels_for(request.param) as kind:
        name, _, centroids = kind.partition(" with ")
        folder = tmp_path_factory.mktemp("pair")
        stock, stock_drafter = shapes.stock_target(name), shapes.stock_drafter(name, centroids=bool(centroids) or None)
        target = load_target(shapes.save(stock, folder / "target"), CPU, torch.float32)
        drafter = load_drafter(shapes.save(stock_drafter, folder / "drafter"), target)
        yield stock, stock_drafter, target, drafter


def after(target: Target, length: int) -> tuple[Cache, Tensor]:
    """A cache of `length` rows, the last two rejected and read again, and the last hidden state."""
    ids = exactness.tokens(length)
    cache = target.new_cache()
    target.prefill(ids[: length - 4], cache)
    target.verify(torch.cat((ids[length - 4 : length - 2], exactness.tokens(7, seed=8))), cache)
    cache.rollback(length - 2)
    return cache, target.verify(ids[length - 2 :], cache)[1][-1:]


@torch.inference_mode()
def stock_step(
    models: tuple[Any, ...], token: Tensor, hidden: Tensor, keys: Any, position: int
) -> tuple[Tensor, Tensor]:
    stock, stock_drafter, _, _ = models
    embedded = stock.get_input_embeddings()(token)
    out = stock_drafter(
        inputs_embeds=torch.cat((embedded, hidden), -1)[None],
        position_ids=torch.tensor([[position]]),
        attention_mask=torch.ones(1, position + 1, dtype=torch.long),
        shared_kv_states=keys,
    )
    return out.logits[0], out.last_hidden_state[0]


@torch.inference_mode()
def stock_keys(models: tuple[Any, ...], length: int) -> dict[str, tuple[Tensor, Tensor]]:
    """What stock hands its drafter after reading the same ids in one pass, the sliding layer cut to the window."""
    stock, target = models[0], models[2]
    out = stock(input_ids=exactness.tokens(length)[None], return_shared_kv_states=True)
    window = target.arch.window
    shared = dict(out.shared_kv_states)
    shared["sliding_attention"] = tuple(x[:, :, -window:] for x in shared["sliding_attention"])
    return shared


@pytest.mark.parametrize("length", [6, shapes.WINDOW, 90, 130])
def test_a_draft_equals_stock(models: tuple[Any, Any, Target, Drafter], length: int) -> None:
    """Three steps on each other's output, within the window, at it, past it, and where the ring wraps."""
    _, _, target, drafter = models
    cache, hidden = after(target, length)
    keys = stock_keys(models, length)
    context = drafter.begin(target, cache, cache.length)
    token = torch.tensor([7])
    for _ in range(3):
        expected, expected_hidden = stock_step(models, token, hidden, keys, length)
        logits, ids, next_hidden = drafter.step(token, hidden, context)
        torch.testing.assert_close(next_hidden, expected_hidden, atol=5e-5, rtol=0)
        chosen = expected if ids is None else expected.gather(1, ids)
        torch.testing.assert_close(logits, chosen, atol=5e-5, rtol=0)
        assert logits.dtype == torch.float32
        best = logits.argmax() if ids is None else ids[0, logits.argmax()]
        assert best == expected.argmax()
        token, hidden = best.view(1), next_hidden


def test_centroids_give_a_shortlist_and_its_ids(models: tuple[Any, Any, Target, Drafter]) -> None:
    _, stock_drafter, target, drafter = models
    cache, hidden = after(target, 20)
    logits, ids, _ = drafter.step(torch.tensor([5]), hidden, drafter.begin(target, cache, 20))
    if not stock_drafter.config.use_ordered_embeddings:
        assert ids is None
        assert logits.shape == (1, shapes.VOCAB)
        return
    assert ids is not None
    shortlist = shapes.VOCAB // 16 * 4
    assert logits.shape == ids.shape == (1, shortlist)
    assert ids.unique().numel() == shortlist


def test_a_draft_sees_the_last_window_and_nothing_rejected(models: tuple[Any, Any, Target, Drafter]) -> None:
    """Noise wherever else the layer has room changes nothing, and anywhere that is seen something."""
    _, _, target, drafter = models
    for length in (6, shapes.WINDOW, 90, 130):
        cache, hidden = after(target, length)
        rejected, within = torch.arange(length, length + 3), torch.tensor([max(0, length - shapes.WINDOW)])
        before = torch.arange(max(0, length - shapes.WINDOW - 3), max(0, length - shapes.WINDOW))
        for source, hidden_from in (
            (target.arch.last_own_sliding, torch.cat((before, rejected))),
            (target.arch.last_own_full, rejected),
        ):
            said = []
            for noisy in (None, hidden_from, within):
                slots = cache.layers[source]
                kept = slots.values.clone()
                if noisy is not None:
                    slots.values[:, noisy % slots.slots] += 1
                said.append(drafter.step(torch.tensor([5]), hidden, drafter.begin(target, cache, length))[2])
                slots.values.copy_(kept)
            assert torch.equal(said[0], said[1])
            assert not torch.equal(said[0], said[2])


def test_the_position_turns_the_query(models: tuple[Any, Any, Target, Drafter]) -> None:
    _, _, target, drafter = models
    cache, hidden = after(target, 40)
    hidden_after = [drafter.step(torch.tensor([5]), hidden, drafter.begin(target, cache, p))[2] for p in (40, 39)]
    assert not torch.equal(*hidden_after)


def test_a_step_waits_for_nothing_and_masks_nothing(
    models: tuple[Any, Any, Target, Drafter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor is read back to the host, and no mask is made."""
    monkeypatch.setattr(OneRowNorm, "__call__", Norm.__call__)  # as anywhere but on a CPU, where reading is no wait
    monkeypatch.setattr(OneRowNorm, "add", Norm.add)
    _, _, target, drafter = models
    cache, hidden = after(target, 90)
    context: DraftContext = drafter.begin(target, cache, 90)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        drafter.step(torch.tensor([5]), hidden, context)
    ran = {event.key for event in profile.key_averages()}
    assert "aten::cat" in ran  # the profile saw the step; kernels of ours are not in it
    assert not ran & {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_fill_", "aten::where"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_one_row_is_the_norm(dtype: torch.dtype, torch_only: None) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, row, residual = (torch.randn(1, 96, generator=generator).to(dtype) for _ in range(3))
    plain, one = (kind(weight[0], 1e-6, CPU) for kind in (Norm, OneRowNorm))
    for scale in (1.0, 1e-4, 0.0):
        torch.testing.assert_close(one(row * scale), plain(row * scale))
        torch.testing.assert_close(one.add(residual, row * scale), plain.add(residual, row * scale))
    assert one(row).dtype is one.add(residual, row).dtype is dtype
