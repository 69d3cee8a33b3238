"""Tiny models decoded as on a GPU with our own kernels: rounds of every draft length, and passes of several kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding import cuda_graphs
from gemma_cli.engines.local.decoding.cuda_graphs import RoundState
from gemma_cli.engines.local.decoding.decode import FixedDraftLength
from gemma_cli.engines.local.loading.load import load_drafter, load_target
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.row_rule import FIXED
from gemma_cli.engines.local.model.target import Target
from tests.engines.helpers import shapes
from tests.engines.helpers.exactness import tokens as random_tokens

CPU = torch.device("cpu")


SMALL = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
"""A layer of each kind; where some read the keys of others, twice."""


def built(name: str, folder: Path, quantize: Any = None, *, small: bool = False) -> tuple[Target, Drafter]:
    """A tiny target of a released shape and its drafter, in bfloat16; experts lie as a GPU has them. small: with as few
    layers as there can be."""
    changes: dict[str, Any] = SMALL if small else {}
    if small and name in ("e2b", "e4b"):
        changes = {"num_hidden_layers": 4, "layer_types": SMALL["layer_types"] * 2, "num_kv_shared_layers": 2}
    if small and name == "26b-a4b":
        changes = {**SMALL, "top_k_experts": 4}  # the kernels take powers of two, as released models have
    stock = shapes.stock_target(name, **changes)
    target = load_target(shapes.save(stock, folder / "target"), CPU, torch.bfloat16, quantize)
    drafter = load_drafter(shapes.save(shapes.stock_drafter(name), folder / "drafter"), target, quantize)
    for layer in target.layers:
        if experts := layer.experts:
            experts.gate_up, experts.down = _stack(experts.gate_up), _stack(experts.down)
    return target, drafter


def _stack(each: Any) -> ExpertStack:
    return ExpertStack.of_floats(torch.stack([linear.few[1] for linear in each]))


class Knowing:
    """A drafter that knows a reply and errs at every `errs`-th position; it runs the real drafter all the same."""

    def __init__(self, drafter: Drafter, reply: list[int], start: int, errs: int = 4) -> None:
        self.errs, self.ropes, self.arch, self._drafter = errs, drafter.ropes, drafter.arch, drafter
        self.reply, self.start = torch.tensor([*reply, *[3] * 20]), start
        self.device: RoundState

    def step_fused(self, functions: Any, token: Tensor, hidden: Tensor, target: Target, row: Any) -> Any:
        logits, _, state = self._drafter.step_fused(functions, token, hidden, target, row)
        assert logits.isfinite().all()
        position = self.device.length + self.device.step + 1
        right = self.reply.index_select(0, position - self.start)
        guess = torch.where(position % self.errs == 0, (right + 1) % shapes.VOCAB, right)
        return torch.full((1, shapes.VOCAB), -1e9).index_fill(1, guess, 0.0), None, state


def reply(
    target: Target,
    drafter: Drafter,
    prompt: int,
    sampling: Sampling,
    drafts: int,
    known: list[int] | None = None,
    rows: int = FIXED,
) -> tuple[list[int], list[int]]:
    """(tokens, number accepted in each round). known: what the drafter knows of the reply, if it is to be right.
    rows: of a target pass."""
    cache = target.new_cache()
    last = target.prefill(random_tokens(prompt), cache)
    used: Any = Knowing(drafter, known, prompt) if known else drafter
    state = RoundState(target, used, rows=rows)
    if known:
        used.device = state
    length = sampling.max_tokens
    bursts = list(cuda_graphs.decode(state, cache, last, sampling, FixedDraftLength(drafts), stop=(), limit=length))
    accepted = [burst.round.accepted for burst in bursts if burst.round]
    return [token for burst in bursts for token in burst.tokens], accepted


def compare_with_torch(target: Target, prompt: int = 30, rows: int = 3) -> float:
    """The relative difference of logits from those that torch computes layer by layer."""
    found = []
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            cache = target.new_cache()
            target.prefill(random_tokens(prompt), cache)
            found.append(target.verify(random_tokens(rows, seed=2), cache)[0])
            patch.setattr(Target, "functions", None)
    return ((found[0] - found[1]).norm() / found[1].norm()).item()
