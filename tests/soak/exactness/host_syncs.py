"""Rounds and prompts of the five released models, every layer, at their true shapes on a device without numbers."""

from __future__ import annotations

from itertools import product
from typing import get_args

from gemma_cli.core.engine import Quantization
from gemma_cli.engines.local.loading.synthetic import NAMES
from tests.engines.helpers.gpu.rounds import SAMPLINGS, USUAL, prefill_peak, run_round
from tests.soak.outcome import Outcome

PROMISE = "A recorded round never waits for the device, and a prompt of 128k tokens takes the memory that was foretold"


def trial(scale: float) -> Outcome:
    """Every model as stored and quantized, by our kernels and torch's; at a smaller scale, a layer of each kind."""
    whole = scale >= 1
    tried, failures, figures = 0, [], []
    for name in NAMES:
        for quantize, fused in product((None, *get_args(Quantization)), (True, False)):
            tried += len(SAMPLINGS if whole else USUAL)
            try:
                found = run_round(name, quantize, whole=whole, fused=fused)
            except AssertionError as error:
                failures.append(f"{name} {quantize}, fused {fused}: {error}")
                continue
            each, of = found["verify"] / found["layers"], "ours" if fused else "torch's"
            kind = f"{name} {quantize or 'bfloat16'}, {of}"
            figures.append(f"{kind}: {each:.1f} kernels a layer, draft step {found['draft step']}")
        if name != "26b-a4b":  # whose experts many rows group by waiting
            tried += 1
            taken, foretold = prefill_peak(name, 1 << 17, whole=whole)
            figures.append(f"{name} prompt: {taken / 2**20:.0f} of {foretold / 2**20:.0f} MiB")
            if not taken < foretold < 1 << 30:
                failures.append(f"{name}: a prompt takes {taken} bytes, foretold {foretold}")
    return Outcome(tried, failures, "; ".join(figures))
