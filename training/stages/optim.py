"""Muon for the hidden matrices, AdamW for the rest; a warm-up and a cosine; checkpoints that survive a stop."""

import math
import os
import shutil
import time
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gemma_cli.core.errors import GemmaError
from gemma_cli.engines.local.device import choose_dtype

State = dict[str, Any]
"""What a checkpoint of a stage holds: the states of modules and optimizers, and numbers."""

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Everything trains here; the recipe is the same on both, only the minutes differ."""


@cache
def has_bfloat16() -> bool:
    """Whether bfloat16 can be computed in here, and is faster than float32: a CPU without instructions for it takes
    twenty times as long. The first call has to come before the first matrix product: it also caps the instructions
    oneDNN may pick, on virtual CPUs that announce some they lack (see `gemma doctor`)."""
    try:
        if choose_dtype("bfloat16", DEVICE, 0) != torch.bfloat16:
            return False
    except GemmaError:
        return False
    return DEVICE.type == "cuda" or _product_s(torch.bfloat16) < _product_s(torch.float32)


def _product_s(dtype: torch.dtype) -> float:
    """Seconds of a matrix product as the decoder has them; the best of three, after one to warm up."""
    rows, weights = torch.ones(2_048, 192, dtype=dtype), torch.ones(192, 384, dtype=dtype)
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        rows @ weights
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def half_precision() -> torch.autocast:
    """Matrix products in bfloat16, sums and norms in float32, where that is faster; else everything in float32."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=has_bfloat16())


def compiled(module: nn.Module) -> None:
    """Fuse a module's forward and backward, a third faster, where a compiler is at hand; minutes once, then cached."""
    if DEVICE.type == "cuda" or shutil.which(os.environ.get("CXX", "g++")):
        module.compile(dynamic=False)


def orthogonalize(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest orthogonal matrices, roughly, by Newton and Schulz's quintic iteration (Keller Jordan's Muon).

    matrices: (count, rows, columns), float32. Equal shapes go through one batched product, and in float32:
    torch.optim.Muon takes them one by one in bfloat16, which many CPUs do slowly or not at all.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    nearest: torch.Tensor = x.mT if tall else x
    return nearest


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal; its size matches AdamW's (0.2 sqrt(longer side)), so they share a learning rate."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                updates: list[torch.Tensor] = []
                for parameter in parameters:
                    assert parameter.grad is not None
                    state = self.state[parameter]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(parameter)
                    buffer = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(buffer, group["momentum"]))
                size = 0.2 * math.sqrt(max(shape)) * group["lr"]
                for parameter, update in zip(parameters, orthogonalize(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-size)


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon takes this parameter: the matrices between layers, not embeddings, heads or convolutions."""
    return parameter.ndim == 2 and not any(part in name for part in ("embed_tokens", "head", "table", "centroids"))


class Optimizer:
    """Both optimizers under one learning-rate schedule, with gradients clipped to norm 1."""

    def __init__(self, modules: nn.Module, lr: float, warmup: int = 50):
        named = [(name, p) for name, p in modules.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if is_hidden_matrix(name, p)]
        others = [p for name, p in named if not is_hidden_matrix(name, p)]
        self.parts: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=lr),
            torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.97), weight_decay=0.01, foreach=True),
        ]
        self.parameters, self.lr, self.warmup, self.steps = [p for _, p in named], lr, warmup, 0

    def step(self, progress: float) -> None:
        """Update once. progress: how much of the stage is done, 0..1: the rate falls along a cosine to a twentieth."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.steps += 1
        rate = (
            self.lr * min(1, self.steps / self.warmup) * (0.05 + 0.95 * (1 + math.cos(math.pi * min(1, progress))) / 2)
        )
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> State:
        return {"parts": [part.state_dict() for part in self.parts], "steps": self.steps}

    def load_state_dict(self, state: State) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self.steps = state["steps"]


class Clock:
    """A stage's budget in minutes, counted over interruptions."""

    def __init__(self, minutes: float, spent: float = 0.0):
        self.budget, self.before, self.start = minutes * 60, spent, time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds worked on this stage so far."""
        return self.before + time.monotonic() - self.start

    @property
    def progress(self) -> float:
        """How much of the budget is spent, from 0 to 1."""
        return self.spent / self.budget

    def at(self, optimizer: Optimizer) -> str:
        """Where the stage stands, for its log."""
        return f"step {optimizer.steps} minute {self.spent / 60:.1f}"


def save(path: Path, state: State) -> None:
    """Write a checkpoint whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(path)
