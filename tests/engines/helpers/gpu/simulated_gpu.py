"""A GPU with our own kernels, simulated on a CPU: models are built, cached and decoded as there.

    with simulated_gpu(functions): target = load_target(folder, CPU, torch.bfloat16) ...

functions: reference.Reference, in torch, or Triton's in the interpreter (triton_kernels/checks/fenced_kernels.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from gemma_cli.engines.local import native
from gemma_cli.engines.local.model.layers import quantized
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.triton_kernels import availability, ops

CPU = torch.device("cpu")


@contextmanager
def simulated_gpu(functions: ops.Functions) -> Iterator[None]:
    """Compute on the CPU by `functions` what a GPU computes by our own kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(availability, "why_not", lambda device: "")
        patch.setattr(native, "loaded", lambda: None)
        patch.setattr(quantized, "int8_on_cuda", lambda: False)
        patch.setitem(ops._launchers, CPU, functions)
        patch.setattr(Target, "kv_dtype", property(lambda target: target.dtype))
        yield
