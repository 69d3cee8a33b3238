"""A round of a released model at its true shapes, on a device without numbers, with nothing that waits."""

from __future__ import annotations

import torch

from gemma_cli.core.engine import Quantization
from gemma_cli.core.messages import GREEDY, Sampling
from gemma_cli.engines.local.decoding.accept import SyntheticAcceptance
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.loading.memory.working import pass_bytes
from gemma_cli.engines.local.model.cache import BUCKET
from gemma_cli.engines.local.model.chunks import CHUNK
from tests.engines.helpers.gpu import true_shapes
from tests.engines.helpers.gpu.refusing import Footprint, refusing

SAMPLINGS = {
    "greedy": GREEDY,
    "default": Sampling(),
    "from all": Sampling(top_k=0, top_p=1.0),
    "min-p": Sampling(top_k=0, min_p=0.1),
}
USUAL = ("greedy", "default")

ROWS = 3
"""Rows of a verify pass that count: two drafts."""


def run_round(
    name: str, quantize: Quantization | None = None, *, whole: bool = False, fused: bool = True
) -> dict[str, int]:
    """Run a draft step, a verify pass where rows cross a bucket's end, and choices: with every layer, of every kind.
    Returns how many kernels a verify pass and a draft step have, at least: copies in casts are left out. fused: with
    our own kernels. Raises Waits."""
    with true_shapes.gpu(fused=fused):
        target, drafter = true_shapes.built(name, quantize, whole=whole)
        device = RoundState(target, drafter, (3, 4), accept=SyntheticAcceptance(0.5) if quantize else None)
        cache = target.new_cache(2 * BUCKET)
        found = {"layers": len(target.layers)}
        for kind, sampling in SAMPLINGS.items():
            if not (whole or kind in USUAL):
                continue
            device.attach(cache, BUCKET, sampling)
            with refusing(), Footprint() as step:
                if sampling is GREEDY:
                    device.begin(device.newest, device.states[:1])
                    device._verify((BUCKET, 2 * BUCKET), ROWS)
                    found["verify"], step.kernels = step.kernels, 0
                device._draft_step(BUCKET)
                found["draft step"] = step.kernels
                device._choose()
        return found


def prefill_peak(name: str, length: int, *, whole: bool = False) -> tuple[int, int]:
    """Return the bytes that the last pass over a prompt of `length` tokens takes (embedding, masks, every layer that
    keeps keys), and those that were foretold."""

    with true_shapes.gpu():
        target, _ = true_shapes.built(name, whole=whole)
        cache = target.new_cache(length)
        cache.length = cache._high = length - CHUNK
        with Footprint() as used:
            for reading in target.passes(torch.zeros(CHUNK, dtype=torch.int64, device=true_shapes.GPU), cache):
                target.read([reading])
        return used.peak, pass_bytes(target)
