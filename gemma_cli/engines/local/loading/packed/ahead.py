"""Saving of quantized weights before a model is first run: `gemma models quantize`."""

from __future__ import annotations

import torch

from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.engines.local import native
from gemma_cli.engines.local.device import choose_dtype, weight_bytes
from gemma_cli.engines.local.loading.packed.saving import Wanted, packed_weights
from gemma_cli.engines.local.threads import set_threads
from gemma_cli.store.models.checkpoints import OFF, resolve
from gemma_cli.store.models.releases import gigabytes


def save(name: str, quantize: Quantization) -> str:
    """Save the quantized weights of a model; returns a line about them. Raises GemmaError where they are not saved."""
    resolved = resolve(name, OFF)
    if resolved.folder is None:
        raise UsageError(f"{name}: a synthetic model has no weights to save; name a checkpoint")
    set_threads()
    cpu = torch.device("cpu")
    dtype = choose_dtype("auto", cpu, weight_bytes(resolved.folder))
    if native.on(cpu) is None:
        raise GemmaError(
            "quantized weights can be saved only where gemma's own kernels run: see kernels in gemma doctor"
        )
    found = packed_weights(Wanted(resolved.name, resolved.folder, quantize, dtype), worth=0)
    if found.weights is None:
        raise GemmaError(found.notice or f"{resolved.name} has no weights that can be quantized")
    state = "saved" if found.made else "already saved"
    return f"{resolved.name} in {quantize}: {state}, {gigabytes(found.weights.size)}"
