"""Refusal of a model that overflows in float16, whose largest number is 65,504: Gemma 4 is trained in bfloat16."""

from __future__ import annotations

import torch

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.model.target import Target

TRIED = 64
"""Tokens that are tried, from the whole vocabulary, after the one that begins every prompt: its states are the
largest."""

BEGINNING = 2


@torch.inference_mode()
def refuse_overflow(target: Target) -> None:
    """Run a few tokens through every layer. ModelError where what comes out is not a number."""
    if target.dtype != torch.float16:
        return
    spread = torch.arange(TRIED, device=target.device) * (target.vocab_size // TRIED)
    ids = torch.cat((spread.new_full((1,), min(BEGINNING, target.vocab_size - 1)), spread))
    logits, states = target.verify(ids, target.new_cache(len(ids)))
    if not (logits.isfinite().all() and states.isfinite().all()):
        raise ModelError(
            f"the model computes numbers that are too large for float16 on {target.device}: "
            "use --dtype float32, --device cpu, or a GPU that computes in bfloat16"
        )
