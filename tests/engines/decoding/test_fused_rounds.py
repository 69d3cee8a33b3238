"""Rounds by kernels of whole passes, with torch in place of the kernels: the wiring, at tiny shapes.

`python -m tests.soak gpu_rounds` runs the same rounds through Triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gemma_cli.core.messages import GREEDY, Sampling
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.triton_kernels.reference import Reference
from tests.engines.helpers.exactness import tokens as random_tokens
from tests.engines.helpers.gpu import decoded
from tests.engines.helpers.gpu.simulated_gpu import simulated_gpu

PROMPT = 40
SAMPLED = Sampling(temperature=8.0, seed=4, max_tokens=8)


@pytest.fixture(scope="module", params=[("e4b", "int4"), ("26b-a4b", None)], ids=lambda p: p[0])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    torch.set_num_threads(1)
    name, quantize = request.param
    with simulated_gpu(Reference()):
        yield decoded.built(name, tmp_path_factory.mktemp(name), quantize)


def test_every_draft_length_says_the_same(pair: Any) -> None:
    plain, _ = decoded.reply(*pair, PROMPT, SAMPLED, 0)
    assert len(set(plain)) > 3
    for drafts in (2, 6):
        said, accepted = decoded.reply(*pair, PROMPT, SAMPLED, drafts, plain)
        assert said == plain
        assert max(accepted) > 1
    assert decoded.reply(*pair, PROMPT, SAMPLED, 3)[0] == plain, "with the drafter's own drafts"


def test_passes_of_every_kind_give_a_row_the_same_bits(pair: Any) -> None:
    """Alone, among others, in a pass with rows of another sequence, and at a place that only the device knows."""
    target, drafter = pair
    ids = random_tokens(3, seed=1)
    with torch.inference_mode():
        caches = [target.new_cache() for _ in range(2)]
        for cache in caches:
            target.prefill(random_tokens(PROMPT), cache)
        whole, states = target.verify(ids, caches[0])
        caches[0].rollback(PROMPT)
        single = [target.verify(one, caches[0])[0] for one in ids.split(1)]
        assert torch.equal(torch.cat(single), whole)
        caches[0].rollback(PROMPT)
        both, _ = target.verify_each(torch.cat((ids[:2], ids)), caches, [2, 3])
        assert torch.equal(both, torch.cat((whole[:2], whole)))
        caches[0].rollback(PROMPT)
        state = RoundState(target, drafter)
        state.attach(caches[0], 30, GREEDY)
        state.begin(ids[:1], states[:1])
        state.proposed[:3].copy_(ids)
        state.drafted.fill_(2)
        caches[0].reserve(state.rows)
        state._verify((), state.rows)
        assert torch.equal(state.logits[:3], whole)
        assert torch.equal(state.states[:3], states)


def test_it_is_the_model_that_torch_computes_layer_by_layer(pair: Any) -> None:
    assert 0 < decoded.compare_with_torch(pair[0]) < 0.03
