"""Decodes tiny models through the Triton kernels in Triton's interpreter, at draft lengths 0 to 4. Needs Triton, and no
GPU."""

import os
import tempfile
from itertools import product
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
import triton

from gemma_cli.core.messages import Sampling
from tests.engines.helpers.gpu.decoded import built, compare_with_torch, reply
from tests.engines.helpers.gpu.simulated_gpu import simulated_gpu
from tests.engines.triton_kernels.checks.fenced_kernels import FencedKernels
from tests.soak.outcome import Outcome

PROMISE = "Through the Triton kernels, a reply is the same at every draft length, and near torch's."

MODELS = (("e2b", None), ("26b-a4b", None), ("e2b", "int4"), ("31b", "int8"), ("12b", "int4"))

SAMPLINGS = (Sampling(temperature=8.0, seed=4, top_k=4, top_p=0.95, max_tokens=5), Sampling(0.0, max_tokens=5))


def trial(scale: float) -> Outcome:
    """Decode with every model; at a smaller scale with so many of them."""
    torch.set_num_threads(1)
    tried, failures, worst = 0, [], 0.0
    for name, quantize in MODELS[: max(1, round(len(MODELS) * scale))]:
        kernels = FencedKernels()
        kernels.columns = 64  # the interpreter takes minutes for those of a GPU
        with tempfile.TemporaryDirectory() as folder, simulated_gpu(kernels):
            pair = built(name, Path(folder), quantize, small=True)
            worst = max(worst, compare_with_torch(pair[0]))
            tried += 1
            plain = [reply(*pair, 30, sampling, 0, rows=5)[0] for sampling in SAMPLINGS]
            for (sampling, expected), drafts in product(zip(SAMPLINGS, plain, strict=True), range(1, 5)):
                found, _ = reply(*pair, 30, sampling, drafts, expected, rows=5)
                tried += 1
                if found != expected:
                    failures.append(f"{name} {quantize}, {drafts} drafts: {found}, not {expected}")
            kernels.check_fences()
    if worst > 0.03:
        failures.append(f"logits differ from torch's by {worst:.1e}")
    return Outcome(tried, failures, f"Triton {triton.__version__}; logits differ from torch's by {worst:.1e} at most")
