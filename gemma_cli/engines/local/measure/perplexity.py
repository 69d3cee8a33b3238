"""Perplexity of a model on given replies: the cost of rounding its weights, as one number."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from gemma_cli.core.messages import Request, ask
from gemma_cli.engines.local.engine import LocalEngine

TURN_END = "<turn|>"


@torch.inference_mode()
def perplexity(engine: LocalEngine, exchanges: Iterable[tuple[str, str]]) -> float:
    """exp of the mean of -log p over the tokens of all replies, each with the end of its turn, after their prompts.

    exchanges: (prompt, reply), at least one. Logits are as decoding computes them, before temperature and top-p.
    """
    target, tokenizer = engine.target, engine.tokenizer
    end = tokenizer.id_of(TURN_END)
    surprise, count = 0.0, 0
    for prompt, reply in exchanges:
        asked = torch.tensor(engine.writer.write(Request(ask(prompt)), engine.towers.count).ids, device=target.device)
        said = [*tokenizer.encode_text(reply), *([] if end is None else [end])]
        expected = torch.tensor(said, device=target.device)
        cache = target.new_cache(len(asked) + len(said))
        logits, _ = target.prefill(asked, cache)
        if len(said) > 1:
            logits = torch.cat((logits, target.verify(expected[:-1], cache)[0]))
        wide = logits.cpu().double()  # Apple GPUs have no float64
        surprise += torch.nn.functional.cross_entropy(wide, expected.cpu(), reduction="sum").item()
        count += len(said)
    return math.exp(surprise / count)
