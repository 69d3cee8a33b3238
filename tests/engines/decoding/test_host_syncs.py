"""Rounds and prefill at the true shapes of the released models, on a pretended GPU (helpers/gpu): the host never waits
for it in what is recorded, and memory stays within what was foretold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gemma_cli.core.engine import Quantization
from gemma_cli.core.messages import GREEDY, Sampling
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.loading.memory import estimate
from gemma_cli.engines.local.loading.synthetic import NAMES
from gemma_cli.engines.local.model.cache import BUCKET
from gemma_cli.engines.local.model.target import CHUNK
from tests.engines.helpers.gpu import true_shapes
from tests.engines.helpers.gpu.refusing import Footprint, Waits, refusing

ROWS = torch.arange(6)
MASK = ROWS > 2
WAITING: dict[str, Callable[[], object]] = {
    "item": lambda: ROWS[0].item(),
    "float": lambda: float(ROWS[0]),
    "int": lambda: int(ROWS[0]),
    "bool": lambda: bool(MASK.all()),
    "tolist": lambda: ROWS.tolist(),
    "numpy": lambda: ROWS.numpy(),
    "cpu": lambda: ROWS.cpu(),
    "range": lambda: range(ROWS[3]),  # type: ignore[arg-type]
    "slice": lambda: ROWS[ROWS[2] :],
    "number in a call": lambda: torch.add(ROWS, ROWS, alpha=ROWS[1].item()),
    "mask": lambda: ROWS[MASK],
    "assignment by a mask": lambda: ROWS.clone().__setitem__(MASK, 0),
    "masked_select": lambda: ROWS.masked_select(MASK),
    "nonzero": lambda: ROWS.nonzero(),
    "where": lambda: torch.where(MASK),
    "unique": lambda: ROWS.unique(),
    "bincount": lambda: ROWS.bincount(minlength=9),
    "equal": lambda: torch.equal(ROWS, ROWS),
    "repeat_interleave": lambda: ROWS.repeat_interleave(ROWS),
    "tensor_split": lambda: torch.tensor_split(ROWS, ROWS[1:3]),
    "numbers of the host": lambda: torch.tensor([1, 2]),
}
FREE: dict[str, Callable[[], object]] = {
    "index": lambda: ROWS[ROWS.flip(0)],
    "masked_fill": lambda: ROWS.masked_fill(MASK, 0),
    "where": lambda: torch.where(MASK, ROWS, 0),
    "linear": lambda: torch.nn.functional.linear(ROWS.float()[None], ROWS.float()[None]),
    "repeat_interleave": lambda: ROWS.repeat_interleave(ROWS, output_size=15),
    "slice": lambda: ROWS[2:].new_zeros(3),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_whatever_waits_is_refused(mode: Callable[[], torch.no_grad]) -> None:
    with mode():
        for name, waiting in WAITING.items():
            with refusing(), pytest.raises(Waits):
                print(name, waiting())
        with refusing():
            for free in FREE.values():
                free()
    assert ROWS.tolist() == [0, 1, 2, 3, 4, 5], "outside, everything is as it was"


SAMPLINGS = {
    "greedy": GREEDY,
    "default": Sampling(),
    "from all": Sampling(top_k=0, top_p=1.0),
    "min-p": Sampling(top_k=0, min_p=0.1),
}


@pytest.mark.parametrize(
    ("name", "quantize"), [*((name, None) for name in NAMES), ("26b-a4b", "int4"), ("e2b", "int8")]
)
def test_a_round_never_waits_for_the_device(name: str, quantize: Quantization | None) -> None:
    """A draft step, a verify pass where rows cross a bucket's end, and choices of every kind."""
    with true_shapes.cuda():
        target, drafter = true_shapes.built(name, quantize)
        device = RoundState(target, drafter, (3, 4))
        cache = target.new_cache(2 * BUCKET)
        for sampling in SAMPLINGS.values():
            device.attach(cache, BUCKET, sampling)
            with refusing():
                if sampling is GREEDY:
                    device.begin(device.newest, device.states[:1])
                    device._verify((BUCKET, 2 * BUCKET), 3)
                device._draft_step(BUCKET)
                device._choose()


@pytest.mark.parametrize("name", ["e2b", "12b", "31b"])
def test_a_prompt_takes_the_memory_that_was_foretold(name: str) -> None:
    """The last pass over a prompt of 128k tokens, all of it: embedding, masks, every layer."""
    with true_shapes.cuda():
        target, _ = true_shapes.built(name)
        cache = target.new_cache(1 << 17)
        cache.length = cache._high = (1 << 17) - CHUNK
        with Footprint() as used:
            for reading in target.passes(torch.zeros(CHUNK, dtype=torch.int64, device=true_shapes.CUDA), cache):
                target.read([reading])
        foretold = estimate._pass(target)
    assert foretold / 2 < used.peak < foretold < 1 << 30
