"""A drafter that knows the reply, and errs where it is told to: drafts of every quality, at no cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Knowing:
    """`errs` says where: position -> bool. `start`: the position of the reply's first token."""

    reply: list[int]
    start: int
    errs: Callable[[int], bool]
    vocab: int
    steps: int = 0
    seen: list[tuple[int, int]] = field(default_factory=list)  # (position told, newest token) at every begin

    def begin(self, target: object, cache: object, position: int) -> list[int]:
        self.seen.append((position, cache.length))  # type: ignore[attr-defined]
        return [position]

    def step(self, token: Tensor, hidden: Tensor, context: list[int]) -> tuple[Tensor, None, Tensor]:
        self.steps += 1
        context[0] += 1
        index = context[0] - self.start
        assert index > 0, "the first token is not drafted"
        right = self.reply[index] if index < len(self.reply) else 0
        wrong = self.errs(context[0])
        logits = torch.full((1, self.vocab), -torch.inf)
        logits[0, (right + 1) % self.vocab if wrong else right] = 0.0
        return logits, None, hidden


def right_seven_times_in_ten(position: int) -> bool:
    """Errs at three positions of ten, strewn about."""
    return hash((position, 7)) % 10 >= 7
